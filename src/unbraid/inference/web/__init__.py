"""A page on one's own machine that takes songs apart: songs in a queue, a server, and what a browser shows."""
