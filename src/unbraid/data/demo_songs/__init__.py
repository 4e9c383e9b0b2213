"""Synthetic songs of the demo data sets: scores from simple rules, rendered by a small synthesiser."""
