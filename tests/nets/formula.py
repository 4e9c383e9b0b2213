"""Weights and waveforms made by formulas, so that another toolkit can compute the same output for comparison."""

import torch


def formula_weights(module):
    """Set each weight to a sine of its index, with a size that depends only on the shape of its tensor."""
    with torch.no_grad():
        for tensor in module.parameters():
            index = torch.arange(tensor.numel(), dtype=torch.float64)
            wave = torch.sin(1.7 * index + tensor.numel()).reshape(tensor.shape)
            size = 0.2 if tensor.ndim == 1 else 1.5 * (tensor[0].numel() ** -0.5)
            tensor.copy_(wave * size)
    return module.eval()


def formula_song(samples, channels=2, rate=44100):
    """Return a chord with decaying notes, which differs between channels. Shape: [1, channels, samples]."""
    time = torch.arange(samples, dtype=torch.float64) / rate
    each = [
        sum(
            torch.sin(2 * torch.pi * f * time + channel * f) * torch.exp(-3 * (time * f / 100) % 1)
            for f in (110, 277, 1320, 5000)
        )
        for channel in range(channels)
    ]
    return (0.1 * torch.stack(each)).float()[None]
