"""Scores of separation and segmentation: measures, protocols, oracles, statistics of comparisons, published results."""
