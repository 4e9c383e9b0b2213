"""unbraid: an experiment framework for autoencoders and music source separation."""
