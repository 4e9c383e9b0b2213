"""Weights and waveforms from formulas, with which networks of other code were run to record their output."""

import math
from pathlib import Path

import torch
from torch import Tensor

LISTINGS = Path(__file__).parent / "names"


def listing(name: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors of a network by their MSST names, from the file `names/NAME.txt`."""
    lines = (line.split() for line in (LISTINGS / f"{name}.txt").read_text().splitlines())
    return {key: tuple(int(size) for size in sizes) for key, *sizes in lines}


def formula_state(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return the weights of a network: sines of the index, divided by the root of the number of inputs."""
    state = {}
    for number, (name, shape) in enumerate(sorted(shapes.items())):
        size = math.prod(shape)
        values = torch.sin(0.7 * torch.arange(size, dtype=torch.float64) ** 1.3 + number).float().reshape(shape)
        if len(shape) > 1:
            state[name] = values * (2 * shape[0] / size) ** 0.5
        else:
            state[name] = 0.2 * values + float(name.endswith((".weight", ".gamma")))
    return state


def formula_mixture(samples: int) -> Tensor:
    """Return a stereo mixture of chirps. Shape: [1, 2, samples]."""
    n = torch.arange(samples, dtype=torch.float64)
    left = torch.sin(0.02 * n + 2e-5 * n**2) + 0.5 * torch.sin(0.9 * n)
    right = torch.sin(0.13 * n + 1) * torch.cos(0.003 * n)
    return 0.3 * torch.stack([left, right]).float().unsqueeze(0)
