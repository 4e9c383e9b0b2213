"""Commands of the program `unbraid VERB`, such as `train` and `separate`. Each verb is a module of this package."""
