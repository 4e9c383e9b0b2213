"""Models: separators, DDSP synthesizers, features (inputs) of autoencoders, and the losses for training."""
