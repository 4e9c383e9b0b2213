"""Data set layouts: one file per way in which a data set is stored on disk, each listing its tracks."""
