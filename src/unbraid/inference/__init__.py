"""Use a trained model: load it, separate audio files, export the model to other formats, and serve it as a web page."""
