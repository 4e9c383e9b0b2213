"""Hyperparameter search with Optuna.

The modules define the search space, the study (which stores the trials), the objective and the pruning of runs.
"""
