"""Extreme estimates under every protocol: each score equals an independent formula or the definition."""

import math

import numpy as np
import pytest
import torch

from tests.scoring import formulas
from tests.scoring.test_protocols import protocol
from unbraid.scoring.measures import RegularisedSDR

RATE, SAMPLES = 44100, 1 << 16
DELAY = 100  # samples


def stereo(seed: int) -> torch.Tensor:
    """Return noise with correlated channels and low-pass colour. Shape: [2, T]."""
    noise = torch.randn(2, SAMPLES + 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    noise = noise + 0.5 * noise.flip(0)
    return 0.05 * noise.unfold(-1, 4, 1).mean(dim=-1)


REFERENCE, OTHER = stereo(0), stereo(1)
CASES = {
    "zeros": torch.zeros_like(REFERENCE),
    "reference": REFERENCE,
    "mono": REFERENCE.mean(dim=0, keepdim=True).expand(2, -1),
    "swapped": REFERENCE.flip(0),
    "nan": torch.where(torch.arange(SAMPLES) == 9, math.nan, REFERENCE),
    "scaled": 0.5 * REFERENCE,
    "delayed": torch.nn.functional.pad(REFERENCE, (DELAY, 0))[:, :SAMPLES],
}
R, M = REFERENCE.numpy(), (REFERENCE + OTHER).numpy()
# Expected scores by protocol, of stereo signals as numpy arrays
EXPECTED = {
    "energy_ratios": lambda e: [formulas.usdr(R, e), formulas.si_sdr(R, e)],
    "musdb18_mdx": lambda e: [formulas.usdr(R, e), formulas.si_sdr(R, e)],
    "msst": lambda e: [formulas.sdr(R, e, 1e-8)],
    "mdx23": lambda e: [formulas.sdr(R, e, 1e-7)],
    "bleedless": lambda e: formulas.bleedless_fullness(R, e),
    "l1_freq": lambda e: [formulas.l1_frequency(R, e)],
    "mr_stft": lambda e: [formulas.multi_resolution_stft(R, e)],
    "log_wmse": lambda e: [formulas.log_wmse(R, e, M)],
    "octave_sdr": lambda e: formulas.octave_sdr(R, e),
}


def scores(name: str, estimate: torch.Tensor, channels: int = 2) -> list[float | None]:
    """Return the scores of an estimate, next to a second source with a typical estimate. Shape: [2, T]."""
    one = protocol(name, f"protocol.sample_rate={RATE}", f"protocol.channels={channels}")
    pair, made = torch.stack([REFERENCE, OTHER]), torch.stack([estimate, OTHER + 0.1 * REFERENCE])
    if channels == 1:
        pair, made = pair.mean(dim=1, keepdim=True), made.mean(dim=1, keepdim=True)
    frames = one.score(pair, made, ["vocals", "accompaniment"], pair.sum(dim=0))["vocals"]
    return [frames[measure] for measure in one.measures]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", EXPECTED)
def test_cell_equals_an_independent_formula(name, case):
    found = [values[0] for values in scores(name, CASES[case])]
    expected = [None] * len(found) if case == "nan" else EXPECTED[name](CASES[case].numpy())
    assert found == [value if value is None else pytest.approx(value, abs=2e-3, rel=1e-4) for value in expected]


def test_dnr_scores_the_mono_sum():
    for case in ("mono", "swapped", "reference"):
        assert [values[0] for values in scores("dnr", CASES[case], 1)] == pytest.approx([120, 120])
    assert [values[0] for values in scores("dnr", CASES["scaled"], 1)] == pytest.approx([20 * math.log10(2), 120])


@pytest.mark.parametrize("case", CASES)
def test_museval_windows_of_extreme_estimates(case):
    sdr, isr, sir, sar = scores("musdb18", CASES[case])
    if case in ("zeros", "nan"):
        assert sdr == isr == sir == sar == [None]  # the second window is not complete
        return
    window = slice(0, RATE)
    expected = formulas.sdr(R[:, window], CASES[case].numpy()[:, window], 0) if case != "reference" else math.inf
    assert sdr == [pytest.approx(expected, abs=1e-6)]
    if case == "reference":
        assert isr[0] > 200
    else:
        assert isr[0] == pytest.approx(expected, abs=1e-3)  # the best filter of the reference gives the estimate itself
    assert min(sir[0], sar[0]) > (25 if case == "delayed" else 60)  # the delay cuts off the end; else only rounding errors


@pytest.mark.parametrize("name", ["ikala_nsdr", "medleydb_nsdr", "mir1k_gnsdr"])
@pytest.mark.parametrize("case", CASES)
def test_version_3_ignores_filters_of_the_reference(name, case):
    sdr, _, sir, sar = scores(name, CASES[case], 1)
    if case in ("zeros", "nan"):
        assert sdr == sir == sar == [None]
    else:
        assert min(sdr[0], sir[0], sar[0]) > 25  # a delay also cuts off the end of the track


@pytest.mark.parametrize("epsilon", [1e-8, 1e-7])
def test_silent_reference_has_a_regularised_sdr(epsilon):
    silent = torch.zeros(2, 100)
    assert RegularisedSDR(epsilon)(silent, silent, RATE) == (0.0,)
    energy = 200 * 0.1**2
    assert RegularisedSDR(epsilon)(silent, silent + 0.1, RATE)[0] == pytest.approx(10 * math.log10(epsilon / energy), abs=1e-3)


def test_formulas_differ_between_the_cases():
    """An estimate that is wrong in another way has another score, so a wrong cell cannot pass by chance."""
    values = {round(float(np.float64(EXPECTED["msst"](CASES[case].numpy())[0])), 2) for case in CASES if case != "nan"}
    assert len(values) == len(CASES) - 1
