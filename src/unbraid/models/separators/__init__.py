"""Separators: an STFT or none, a network, and the way back to waveforms."""
