"""Data loaders for Lightning. A run can resume within an epoch. Validation works even with fewer tracks than processes.

The worker processes of the loaders ignore stop signals, so that the training process can finish its current step.
"""

import signal
from typing import Any

from torch.utils.data import DataLoader


class StepLoader(DataLoader[Any]):
    """Load batches, and let Lightning resume in the middle of an epoch.

    The state of the loader is empty, because the sampler computes the next step from the epoch and the number of finished
    steps. The worker processes should be initialised with `ignore_signals`. Then they ignore the signals with which terminals
    and clusters end a run, and still return the batch of the current step.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state, because the sampler computes the next step."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing, because the state is empty."""


class UnsizedLoader(StepLoader):
    """Load batches, and do not tell Lightning the length of the loader.

    Lightning would skip validation on a process whose loader has length 0, but all processes must take part in validation.
    """

    def __len__(self) -> int:
        raise TypeError("an UnsizedLoader has no length. Do not call len() of this loader, but iterate over the loader")


def as_it_is(batch: Any) -> Any:
    """Return a batch unchanged. The default collation of torch would convert tuples to lists."""
    return batch


def ignore_signals(worker: int) -> None:
    """Ignore SIGINT, SIGTERM and SIGUSR1 in a worker process of a data loader. The worker process ends when the loader ends.

    Args:
        worker: number of the worker process, unused.
    """
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):  # Windows has no SIGUSR1
            signal.signal(signal.Signals[name], signal.SIG_IGN)
