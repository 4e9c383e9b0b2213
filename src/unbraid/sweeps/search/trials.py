"""Run a hyperparameter search: reserve (claim) trials, start one run for each trial, and record the results."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from unbraid.runs.errors import InputError
from unbraid.runs.records import Run, read_record
from unbraid.runs.text import echo, one_line
from unbraid.sweeps.search.objective import UndefinedError, objective_of
from unbraid.sweeps.search.options import OBJECTIVE, SCORED
from unbraid.sweeps.search.study import Claim, Search
from unbraid.sweeps.search.summary import summary_text, trial_text, write_table

CALLBACK = "unbraid.sweeps.search.pruning.Pruning"
Ready = tuple[Claim, Path]


class Trials:
    """Run the trials of one search command.

    Args:
        search: the search, which assigns trials to this command and stores the results of the trials.
        launch: function that starts runs, and returns when all runs have ended. The first argument contains a list of overrides
            for each run. The second argument is the number of the first run.
        compose: function that makes a run from a list of overrides and the number of the run. Invalid overrides raise an
            exception.
        folder: sweep folder, in which `search.csv` is written.
    """

    def __init__(
        self, search: Search, launch: Callable[[Sequence[Sequence[str]], int], Any],
        compose: Callable[[Sequence[str], int], Run], folder: Path,
    ) -> None:  # fmt: skip
        self.search, self.launch, self.compose, self.table = search, launch, compose, folder / "search.csv"
        self.failed: list[str] = []

    def run(self) -> list[str]:
        """Run trials until all trials of the search have ended or are claimed by other commands.

        If a run does not log the objective, `InputError` is raised.

        Returns:
            Names, such as `trial 3`, of the trials with invalid overrides or with an undefined objective. Trials with a failed
            run are not included.
        """
        while claims := self.search.claim(self.search.options.n_jobs):
            ready = [(claim, folder) for claim in claims if (folder := self._folder(claim))]
            for batch in _consecutive(ready):
                self.launch([self._overrides(claim) for claim, _ in batch], batch[0][0].number)
                for claim, folder in batch:
                    self._report(claim, folder)
        write_table(self.table, self.search.trials())
        echo(f"\n{summary_text(self.search.trials(), self.search.options, self.table)}")
        return self.failed

    def _overrides(self, claim: Claim) -> list[str]:
        """Return the overrides of a trial.

        If the objective is logged in each epoch, the last override adds the callback that prunes the run.
        """
        words, objective = [*self.search.space.fixed_overrides(), *claim.overrides], self.search.options.objective
        if objective.startswith(SCORED):
            return words
        storage, objective = (QuotedString(text, Quote.double).with_quotes() for text in (str(self.search.path), objective))
        return [*words, f"+search={{_target_:{CALLBACK},storage:{storage},trial:{claim.number},objective:{objective}}}"]

    def _folder(self, claim: Claim) -> Path | None:
        """Return the run folder of a trial.

        If the overrides of the trial give an invalid config, record the error and return None.
        """
        try:
            return self.compose(self._overrides(claim), claim.number).folder
        except (HydraException, OmegaConfBaseException, InputError) as error:
            self._fail(claim, f"invalid overrides: {one_line(str(error))}")
            return None

    def _report(self, claim: Claim, folder: Path) -> None:
        """Read the result of a trial from its run folder, and record the result in the study."""
        record = read_record(folder) or {"state": None}
        if record["state"] == "pruned":
            self._end(claim, folder, None)
        elif record["state"] != "done":
            error = record.get("error", "was interrupted")
            if error.startswith(OBJECTIVE):
                raise InputError(OBJECTIVE, f"the runs of this search cannot be scored ({error})")
            self._leave(claim, error)
        else:
            try:
                value = objective_of(folder, self.search.options.objective, self.search.options.direction)
            except UndefinedError as error:
                self._fail(claim, str(error))
            else:
                self._end(claim, folder, value)

    def _end(self, claim: Claim, folder: Path, value: float | None) -> None:
        self.search.end(claim, folder, value)
        self._print(claim)

    def _fail(self, claim: Claim, error: str) -> None:
        self.failed.append(f"trial {claim.number}")
        self._leave(claim, error)

    def _leave(self, claim: Claim, error: str) -> None:
        self.search.leave(claim, error)
        self._print(claim)

    def _print(self, claim: Claim) -> None:
        trials = self.search.trials()
        write_table(self.table, trials)
        echo(trial_text(trials[claim.number], self.search.options.objective), flush=True)


def _consecutive(ready: Sequence[Ready]) -> Iterator[list[Ready]]:
    """Divide trials into groups.

    Within a group, the numbers of the trials are consecutive, because one call of a launcher needs consecutive numbers.
    """
    for _, group in groupby(enumerate(ready), lambda pair: pair[1][0].number - pair[0]):
        yield [pair for _, pair in group]
