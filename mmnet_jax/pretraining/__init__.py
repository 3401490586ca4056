"""A backbone as a classifier: data, model, loop."""
