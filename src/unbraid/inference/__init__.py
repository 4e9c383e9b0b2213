"""Use a trained model: load it, separate audio files, export it, serve it."""
