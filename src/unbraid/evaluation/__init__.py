"""Score a model on data: scores.json, audio and pictures."""
