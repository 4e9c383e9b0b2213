"""Hyper-parameter search with Optuna: search space, shared study, objective and pruning."""
