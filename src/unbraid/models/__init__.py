"""Models: separators, DDSP synthesizers, features (inputs) of autoencoders, and the losses that train all of them."""
