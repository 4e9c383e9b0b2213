"""Train from a config: workflows, callbacks, loggers, checkpoints."""
