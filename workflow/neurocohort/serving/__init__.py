"""A local page that applies a model to one uploaded scan at a time: `neurocohort serve`."""
