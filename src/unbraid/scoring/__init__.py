"""Scores of separation and segmentation: measures, protocols, oracles, comparisons of systems, and published scores."""
