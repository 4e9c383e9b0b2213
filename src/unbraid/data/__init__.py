"""Read data sets and make batches: list tracks, decode tracks, draw chunks, augment chunks, report damaged audio."""
