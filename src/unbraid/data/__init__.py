"""Read data sets: layouts, decoding into a store, sampling, augmentation, batches."""
