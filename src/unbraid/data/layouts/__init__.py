"""Layouts of data sets: classes that list the tracks in the folder of a data set.

Most modules list one published data set. The other modules list the user's own data in a given folder structure.

The reasons for which a layout excludes a track are in `data/excluded_tracks.py`.
"""
