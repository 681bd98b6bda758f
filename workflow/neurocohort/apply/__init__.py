"""A model applied to raw scans, without a study: `predict.predict_scans` makes tables and pages from a bundle and files."""
