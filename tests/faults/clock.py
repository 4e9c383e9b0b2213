"""Let the clock of the machine jump. The monotonic clock does not jump, as on a real machine."""

import time
from datetime import datetime
from random import Random

import pytest

DAYS = 400


def jumping(patch: pytest.MonkeyPatch, chance: Random) -> None:
    """Replace the functions `time.time`, `time.strftime` and `datetime.now`, so that each call is up to 400 days off."""
    now, strftime = time.time, time.strftime

    def jumped() -> float:
        return now() + chance.uniform(-DAYS, DAYS) * 86400

    class Jumping(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(jumped(), tz)

    patch.setattr(time, "time", jumped)
    patch.setattr(time, "strftime", lambda text, moment=None: strftime(text, moment or time.localtime(jumped())))
    for module in ("unbraid.runs.records", "unbraid.sweeps.ledger", "unbraid.training.callbacks.metrics_csv"):
        patch.setattr(f"{module}.datetime", Jumping, raising=False)
