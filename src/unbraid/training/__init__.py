"""Train a model from a config: workflows (training and test), callbacks of Lightning, loggers and checkpoints."""
