"""Train and test a model from a config. Subpackages and modules: workflows, Lightning callbacks, loggers and checkpoints."""
