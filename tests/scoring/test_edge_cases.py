"""Extreme estimates under every protocol: each score equals an independent formula or package, and the documented value."""

import math
from functools import cache

import mir_eval.separation
import pytest
import torch

from tests.conftest import PROJECT
from tests.scoring import formulas
from tests.scoring.test_protocols import PACKAGES, protocol
from tests.scoring.test_speech_measures import RATE as SPEECH_RATE
from tests.scoring.test_speech_measures import syllables
from unbraid.scoring.measures import RegularisedSDR

RATE, SAMPLES = 44100, 1 << 16
DELAY = 100  # samples


def stereo(seed: int) -> torch.Tensor:
    """Return noise with correlated channels and low-pass colour. Shape: [2, T]."""
    noise = torch.randn(2, SAMPLES + 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    noise = noise + 0.5 * noise.flip(0)
    return 0.05 * noise.unfold(-1, 4, 1).mean(dim=-1)


def extremes(true: torch.Tensor, delay: int) -> dict[str, torch.Tensor]:
    """Return the extreme estimates of a source, by the heading of their column in the documentation. Shape: [2, T]."""
    return {
        "zeros": torch.zeros_like(true),
        "source": true,
        "mono": true.mean(dim=0, keepdim=True).expand(2, -1),
        "swapped": true.flip(0),
        "NaN": torch.where(torch.arange(true.shape[-1]) == 9, math.nan, true),
        "half": 0.5 * true,
        "delayed": torch.nn.functional.pad(true, (delay, 0))[:, : true.shape[-1]],
    }


REFERENCE, OTHER = stereo(0), stereo(1)
CASES = extremes(REFERENCE, DELAY)
SPEECH_CASES = extremes(syllables(), 36)
R, M = REFERENCE.numpy(), (REFERENCE + OTHER).numpy()
MONO = R.mean(axis=0, keepdims=True)
MONO_PROTOCOLS = ("dnr", "ikala_nsdr", "medleydb_nsdr", "mir1k_gnsdr")
# Expected scores by protocol, of the stereo or mono signals as numpy arrays
EXPECTED = {
    "energy_ratios": lambda e: [formulas.usdr(R, e), formulas.si_sdr(R, e)],
    "musdb18_mdx": lambda e: [formulas.usdr(R, e), formulas.si_sdr(R, e)],
    "msst": lambda e: [formulas.sdr(R, e, 1e-8)],
    "mdx23": lambda e: [formulas.sdr(R, e, 1e-7)],
    "dnr": lambda e: [formulas.usdr(MONO, e), formulas.si_sdr(MONO, e)],
    "bleedless": lambda e: formulas.bleedless_fullness(R, e),
    "l1_freq": lambda e: [formulas.l1_frequency(R, e)],
    "mr_stft": lambda e: [formulas.multi_resolution_stft(R, e)],
    "log_wmse": lambda e: [formulas.log_wmse(R, e, M)],
    "octave_sdr": lambda e: formulas.octave_sdr(R, e),
}


def pairs(case: str, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two sources, and an extreme and a typical estimate of them. Shape: each [2, channels, T]."""
    signals = torch.stack([REFERENCE, OTHER]), torch.stack([CASES[case], OTHER + 0.1 * REFERENCE])
    return signals if channels == 2 else tuple(pair.mean(dim=1, keepdim=True) for pair in signals)


@cache
def scores(name: str, case: str) -> dict[str, float | None]:
    """Return the scores of an extreme estimate under a protocol, by the name of the measure."""
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
        one, reference, estimate = (
            protocol(name),
            syllables().mean(dim=0)[None, None],
            SPEECH_CASES[case].mean(dim=0)[None, None],
        )
        assert one.format == (SPEECH_RATE, 1)
    else:
        channels = 1 if name in MONO_PROTOCOLS else 2
        one = protocol(name, f"protocol.sample_rate={RATE}", f"protocol.channels={channels}")
        reference, estimate = pairs(case, channels)
    frames = one.score(reference, estimate, ["vocals", "accompaniment"][: len(reference)], reference.sum(dim=0))["vocals"]
    assert {len(values) for values in frames.values()} == {1}  # the second window of 1 s is not complete
    return {measure: values[0] for measure, values in frames.items()}


def documented() -> list[tuple[str, str, str, str]]:
    """Return protocol, measure, case and text of each cell of the documented table."""
    text = (PROJECT / "docs/reference/measures.md").read_text().partition("## Extreme estimates")[2]
    head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert head[2:] == [*CASES]
    return [
        (name.strip("` "), measure, case, cell)
        for names, measure, *cells in rows
        for name in names.split(",")
        for case, cell in zip(CASES, cells, strict=True)
    ]


def test_documented_table_has_all_protocols():
    found = {(name, measure) for name, measure, *_ in documented()}
    names = {name for name, _ in found}
    assert names == {*EXPECTED, *PACKAGES, "musdb18", "ikala_nsdr", "medleydb_nsdr", "mir1k_gnsdr"}
    assert {("musdb18", measure) for measure in ("SDR", "ISR", "SIR", "SAR")} <= found


@pytest.mark.parametrize(("name", "measure", "case", "text"), documented())
def test_cell_equals_the_documentation(name, measure, case, text):
    value = scores(name, case)[measure]
    if text == "undefined":
        assert value is None
    elif text == "infinite":
        assert value == math.inf
    elif text == "above 200":
        assert 200 < value < math.inf
    else:
        assert value == pytest.approx(float(text), abs=0.00501)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", EXPECTED)
def test_cell_equals_an_independent_formula(name, case):
    estimate = pairs(case, 1 if name in MONO_PROTOCOLS else 2)[1][0].numpy()
    found = [*scores(name, case).values()]
    expected = [None] * len(found) if case == "NaN" else EXPECTED[name](estimate)
    assert found == [value if value is None else pytest.approx(value, abs=2e-3, rel=1e-4) for value in expected]


@pytest.mark.parametrize("case", ["mono", "swapped", "half", "delayed"])
def test_bss_eval_4_of_extreme_estimates(case, museval_metrics):
    """SDR and ISR from the definition. SIR and SAR are infinite in exact arithmetic, or equal those of museval."""
    found, window = scores("musdb18", case), slice(0, RATE)
    expected = formulas.sdr(R[:, window], CASES[case].numpy()[:, window], 0)
    assert found["SDR"] == pytest.approx(expected, abs=1e-6)
    assert found["ISR"] == pytest.approx(expected, abs=1e-3)  # the best filter of the reference gives the estimate itself
    if case == "delayed":  # the delay cuts off the end of the track
        reference, estimate = (signals.transpose(1, 2).numpy() for signals in pairs(case, 2))
        _, _, sir, sar, _ = museval_metrics.bss_eval(reference, estimate, window=RATE, hop=RATE)
        assert (found["SIR"], found["SAR"]) == (pytest.approx(sir[0, 0], abs=1e-3), pytest.approx(sar[0, 0], abs=1e-3))


@pytest.mark.parametrize("name", ["ikala_nsdr", "medleydb_nsdr", "mir1k_gnsdr"])
def test_bss_eval_3_of_a_delay(name):
    reference, estimate = (signals[:, 0].numpy() for signals in pairs("delayed", 1))
    sdr, sir, sar, _ = mir_eval.separation.bss_eval_sources(reference, estimate, compute_permutation=False)
    found = scores(name, "delayed")
    assert [found[m] for m in ("SDR", "SIR", "SAR")] == [pytest.approx(values[0], abs=1e-3) for values in (sdr, sir, sar)]


@pytest.mark.parametrize("name", ["musdb18", "ikala_nsdr"])
def test_impulses_have_exact_scores(name):
    """Interference and artifacts at other times than the source cannot be reached by its filters: all parts are exact."""
    channels = 1 if name in MONO_PROTOCOLS else 2
    one = protocol(name, "protocol.sample_rate=8000", f"protocol.channels={channels}")
    source, other, artifact = torch.zeros(3, channels, 8000)
    source[:, 100], other[:, 3000], artifact[:, 6000] = 1.0, 1.0, 1.0
    reference, estimate = torch.stack([source, other]), torch.stack([source + 0.1 * other + 0.01 * artifact, other])
    frames = one.score(reference, estimate, ["vocals", "accompaniment"], reference.sum(dim=0))["vocals"]
    expected = {"SDR": 1 / 0.0101, "SIR": 1 / 0.01, "SAR": 1.01 / 0.0001}
    for measure, ratio in expected.items():
        assert frames[measure] == [pytest.approx(10 * math.log10(ratio), abs=1e-6)]


def test_speech_measures_have_their_largest_values():
    """PESQ of equal signals: raw value 4.5 in the mapping of P.862.2. ESTOI: a correlation of 1."""
    for name, largest in {"pesq": 0.999 + 4 / (1 + math.exp(-1.3669 * 4.5 + 3.8224)), "estoi": 1.0}.items():
        (value,) = scores(name, "source").values()
        assert value == pytest.approx(largest, abs=1e-4)


@pytest.mark.parametrize("epsilon", [1e-8, 1e-7])
def test_silent_reference_has_a_regularised_sdr(epsilon):
    silent = torch.zeros(2, 100)
    assert RegularisedSDR(epsilon)(silent, silent, RATE) == (0.0,)
    energy = 200 * 0.1**2
    assert RegularisedSDR(epsilon)(silent, silent + 0.1, RATE)[0] == pytest.approx(10 * math.log10(epsilon / energy), abs=1e-3)
