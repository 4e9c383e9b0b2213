"""Commands of the program `unbraid`, such as `unbraid separate`. Each command is a module of this package."""
