"""Energy-ratio measures of one track: uSDR and SI-SDR, in dB, undefined (None) where the reference is silent.

Both see the whole track at once. For the filter-tolerant SDR, SIR and SAR of the papers take BSS eval.
"""

import math

import torch
from torch import Tensor


def usdr(reference: Tensor, estimate: Tensor) -> float | None:
    """Plain signal-to-error ratio over all samples and channels (Music Demixing Challenge, Mitsufuji et al. 2022).

    The challenge adds 1e-7 to both energies; here a silent reference is undefined and a perfect estimate is capped at 120 dB.

    Shape: [C, T] both.
    """
    return _ratio(reference, estimate - reference)


def si_sdr(reference: Tensor, estimate: Tensor) -> float | None:
    """Scale-invariant SDR (Le Roux et al., ICASSP 2019): the reference is scaled to fit the estimate first.

    One scale serves all channels, so a panned estimate is not forgiven.

    Shape: [C, T] both.
    """
    reference, estimate = reference.double(), estimate.double()
    energy = reference.square().sum()
    if energy == 0:
        return None
    target = reference * (reference * estimate).sum() / energy
    return _ratio(target, estimate - target)


def _ratio(signal: Tensor, error: Tensor) -> float | None:
    above, below = float(signal.double().square().sum()), float(error.double().square().sum())
    if above == 0:
        return None
    return 10 * math.log10(above / max(below, above * 1e-12))


MEASURES = {"uSDR": usdr, "SI-SDR": si_sdr}


def score(reference: Tensor, estimate: Tensor, mixture: Tensor) -> dict[str, float | None]:
    """Every measure, and its improvement over the untouched mixture (`uSDRi`, `SI-SDRi`). Shape: [C, T] each."""
    scores: dict[str, float | None] = {}
    for name, measure in MEASURES.items():
        own, before = measure(reference, estimate), measure(reference, mixture)
        scores[name] = own
        scores[f"{name}i"] = None if own is None or before is None else own - before
    return scores


def summarise(scores: list[dict[str, float | None]]) -> dict[str, dict[str, float | int | None]]:
    """Mean, median, standard deviation and count of each measure over the tracks where it is defined."""
    summary: dict[str, dict[str, float | int | None]] = {}
    for measure in scores[0]:
        values = torch.tensor([s[measure] for s in scores if s[measure] is not None], dtype=torch.float64)
        n = len(values)
        summary[measure] = {
            "mean": float(values.mean()) if n else None,
            "median": float(values.quantile(0.5)) if n else None,
            "std": float(values.std(correction=0)) if n else None,
            "n": n,
        }
    return summary
