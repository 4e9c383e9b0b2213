"""Loaders as Lightning needs them to resume a run, to end it, and to validate on more processes than tracks."""

import signal
from typing import Any

from torch.utils.data import DataLoader


class StepLoader(DataLoader[Any]):
    """A loader that Lightning may resume in the middle of an epoch: its steps follow from the epoch and from what is done.

    Its workers outlive signals that ask the run to end, which terminals and clusters send to them too: the step that needs
    their batches is still made.
    """

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """There is nothing to restore."""


class UnsizedLoader(StepLoader):
    """A loader whose length Lightning does not know."""

    def __len__(self) -> int:
        raise TypeError("has no length")


def as_it_is(batch: Any) -> Any:
    """Return a batch unchanged, where torch's own collation would make lists of tuples."""
    return batch


def ignore_signals(worker: int) -> None:
    """Ignore signals in a worker: its loader ends it in another way, and it ends by itself when that is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
