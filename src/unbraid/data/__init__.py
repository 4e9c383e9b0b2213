"""Read data sets and make batches: lists of tracks (layouts), decoded tracks (store), sampling, augmentation, health report."""
