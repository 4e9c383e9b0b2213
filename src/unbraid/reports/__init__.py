"""Report of a sweep (a group of training runs): tables of scores, comparisons with a baseline, plots, listening page."""
