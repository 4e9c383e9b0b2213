"""Run folders, and what every package shares: config building, errors, file reading and writing."""
