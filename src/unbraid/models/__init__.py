"""Models: separators, features of autoencoders, instruments, and the losses that train them."""
