"""Layouts of data sets. Each module lists the tracks of one published data set, or of one folder structure for your own data.

The reasons for which a layout excludes a track are in `data/excluded_tracks.py`.
"""
