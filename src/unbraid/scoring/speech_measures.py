"""Predict the quality (PESQ) and the intelligibility (ESTOI) of speech. The packages pesq and pystoi compute them.

Both measures are meant for speech, and were not validated for music. They need `pip install 'unbraid[speech]'`. The package
pesq is compiled during its installation, which needs a C compiler.
"""

import warnings
from importlib import import_module
from typing import Any

from torch import Tensor

from unbraid.runs.errors import InputError
from unbraid.scoring.measures import Measure


class PESQ(Measure):
    """Predict the quality of speech on the scale of listening tests, 1.02 (bad) to 4.64 (excellent): wideband PESQ.

    Source: ITU-T recommendation P.862.2 (2007). The channels are averaged. The score is undefined if the reference or the
    estimate is silent, or if the package finds no speech.
    """

    names = ("PESQ",)
    unit = "MOS-LQO"

    def __init__(self) -> None:
        self._check()

    @staticmethod
    def _check() -> Any:
        return _package("pesq")

    def __call__(self, reference: Tensor, estimate: Tensor, sample_rate: int) -> tuple[float | None]:
        """Compute PESQ, see the class and `Measure`. The sample rate must be 16000 Hz, otherwise InputError is raised."""
        if sample_rate != 16000:
            raise InputError("protocol.sample_rate", "wideband PESQ needs this rate", found=sample_rate, expected="16000")
        if not (reference.any() and estimate.any()):
            return (None,)
        package = self._check()
        signals = (signal.double().mean(dim=0).cpu().numpy() for signal in (reference, estimate))
        try:
            return (float(package.pesq(sample_rate, *signals, "wb")),)
        except (package.NoUtterancesError, package.BufferTooShortError):
            return (None,)


class ESTOI(Measure):
    """Predict the intelligibility of speech: extended short-time objective intelligibility, from about 0 to 1 (best).

    Source: Jensen and Taal, IEEE/ACM TASLP 2016. The package resamples the signals to 10 kHz. The channels are averaged. The
    score is undefined if the reference or the estimate is silent, or if the reference has less than 30 frames (0.4 s) of sound.
    """

    names = ("ESTOI",)
    unit = "0 to 1"

    def __init__(self) -> None:
        self._check()

    @staticmethod
    def _check() -> Any:
        return _package("pystoi")

    def __call__(self, reference: Tensor, estimate: Tensor, sample_rate: int) -> tuple[float | None]:
        """Compute ESTOI, see the class and `Measure`."""
        if not (reference.any() and estimate.any()):
            return (None,)
        signals = (signal.double().mean(dim=0).cpu().numpy() for signal in (reference, estimate))
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            score = float(self._check().stoi(*signals, sample_rate, extended=True))
        too_short = any(issubclass(warning.category, RuntimeWarning) and score == 1e-5 for warning in raised)
        return (None if too_short else score,)


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        hint = "Run pip install 'unbraid[speech]'"
        raise InputError("protocol.measure", f"the Python package {name} is not installed", hint=hint) from error
