"""Web page on which one user separates songs on this machine: the queue of songs, the HTTP server, and the page itself."""
