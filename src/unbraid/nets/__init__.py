"""Neural networks of separators, autoencoders and instruments. STFT and loss are computed outside of these modules."""
