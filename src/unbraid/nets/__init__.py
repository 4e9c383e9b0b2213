"""Networks: modules with tensors as input and output, without STFT or loss."""
