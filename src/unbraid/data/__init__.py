"""Data sets to batches: layouts, store, sampling, augmentation, health report, generated songs."""
