"""Web page that separates songs, for one user on this machine: a queue of songs, an HTTP server, and the page."""
