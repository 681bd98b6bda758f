"""A trained model applied to raw scans, outside of a study: `predict.predict_scans` from a bundle and files to tables and pages."""
