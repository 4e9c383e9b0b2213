"""Reference implementation of BSS Eval, and random sources and estimates."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="session")
def museval_metrics() -> ModuleType:
    """Return museval's module `metrics`, loaded from its file, because the package cannot be imported without ffmpeg."""
    package = importlib.util.find_spec("museval").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("museval_metrics", Path(package) / "metrics.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_sources(sources: int, channels: int, samples: int, seed: int = 0) -> torch.Tensor:
    """Return coloured noise of different levels with correlated channels. Shape: [S, C, T]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(sources, channels, samples + 8, generator=generator, dtype=torch.float64)
    noise = noise + 0.5 * noise.mean(dim=1, keepdim=True)
    colours = torch.randn(sources, 9, generator=generator, dtype=torch.float64)
    windows = noise.unfold(-1, 9, 1)
    return torch.einsum("sctk,sk->sct", windows, colours) * torch.logspace(0, -1, sources, dtype=torch.float64)[:, None, None]


def spoilt(reference: torch.Tensor, leak: float = 0.2, noise: float = 0.05, seed: int = 1) -> torch.Tensor:
    """Return estimates with typical errors: low-passed, with leakage of other sources, and with noise. Shape: [S, C, T]."""
    generator = torch.Generator().manual_seed(seed)
    low_passed = 0.7 * reference + 0.3 * reference.roll(1, dims=-1)
    return (
        low_passed + leak * (reference.sum(dim=0) - reference)
        + noise * reference.std() * torch.randn(reference.shape, generator=generator, dtype=reference.dtype)
    )  # fmt: skip
