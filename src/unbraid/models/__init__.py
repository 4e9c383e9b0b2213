"""Models: a network with its input and output."""
