"""A trained separator as other software loads it: graphs, and the files and folders that hold them."""
