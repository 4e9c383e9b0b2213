"""Signal processing in torch: STFT, phase reconstruction, Wiener filter, pitch estimation, synthesis."""
