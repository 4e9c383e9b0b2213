"""Separators: map a mixture waveform to source waveforms. They contain the network and, if needed, STFT, masks and phase."""
