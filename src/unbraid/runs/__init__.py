"""Run folders, and functions that all packages use: build objects from configs, report errors, read and write files."""
