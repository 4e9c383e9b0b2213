"""Layouts of data sets: each file lists the tracks of one data set, or of one folder structure for data of your own.

The reasons for which a layout excludes a track are in `data/excluded_tracks.py`.
"""
