"""Tasks: Lightning modules that train and validate a model."""
