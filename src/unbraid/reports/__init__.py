"""The report of a sweep: which arm is better, by how much, on which songs, whether it is luck, and how it sounds."""
