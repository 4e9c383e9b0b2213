"""Score a model on test data, and write `scores.json`, audio and pictures."""
