"""Report on a sweep (a group of training runs): tables of scores, comparisons with a baseline, plots, and a listening page."""
