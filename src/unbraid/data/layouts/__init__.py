"""Layouts of data sets: each file lists the tracks of one way of storing a data set on disk.

The reasons for which a layout excludes a track are in `data/excluded_tracks.py`.
"""
