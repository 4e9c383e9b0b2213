"""Separators: objects that map a mixture waveform to source waveforms, by a network and, if needed, STFT, masks and phase."""
