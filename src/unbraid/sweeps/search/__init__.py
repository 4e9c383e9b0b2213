"""Hyper-parameter search with Optuna: search space, study (the stored trials), objective and pruning."""
