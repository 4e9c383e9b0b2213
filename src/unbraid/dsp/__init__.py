"""Signal processing in torch: STFT, phase, Wiener filter, pitch, synthesis."""
