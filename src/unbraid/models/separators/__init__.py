"""Separators: map a mixture waveform to source waveforms, with everything the network needs around it, such as the STFT."""
