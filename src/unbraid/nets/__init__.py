"""Neural networks of separators, autoencoders and DDSP synthesizers. Other packages compute the STFT and the loss."""
