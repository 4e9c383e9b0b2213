"""Report of a sweep: tables of scores, comparisons with a baseline, plots, and a listening page."""
