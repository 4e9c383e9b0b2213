"""Read the weights of other software."""
