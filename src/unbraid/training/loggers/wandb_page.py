"""A page of Weights & Biases for each run: scalars, audio, pictures, tables; online, or in a file that is uploaded later.

The page is the run's for ever: its id follows from the run's identity and its first start, so that a run that goes on continues
its own. wandb's file loses its tail when a process is killed; what a page lacks is read from it and sent again, see `Loggers`.
"""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

from unbraid.runs.errors import InputError
from unbraid.runs.records import State, digest, redact_paths, sweep_overrides, variant_name
from unbraid.runs.text import echo
from unbraid.training.loggers.logger import About, Figures, Logger, Result
from unbraid.training.loggers.media import Medium

Mode = Literal["auto", "online", "offline"]
EXIT_CODES = {"done": 0, "pruned": 0, "interrupted": 130}
PATIENCE = 0.8  # seconds in which a server must take a connection
FLUSH_SECONDS = 2.0  # what a kill loses of the file, at most
FINISH_SECONDS = 60.0  # in which what is left is uploaded at the end; the file has it anyway
LONGEST_PROJECT, NOT_IN_PROJECTS, LONGEST_TAG = 128, "/\\#?%:", 64  # as wandb has it
AGENT = "WANDB_SWEEP_ID"  # set where W&B's own agent has started this process


class Wandb(Logger):
    """A run's page.

    Args:
        project: of W&B.
        entity: user or team; None: the account's own.
        tags: more than model and data.
        mode: `auto`: online where there is an API key and the server takes a connection within a second, otherwise offline.
        init_timeout: seconds to wait for the server's answer.
    """

    def __init__(self, project: str, entity: str | None, tags: Sequence[str], mode: Mode, init_timeout: float) -> None:
        if find_spec("wandb") is None:
            raise ModuleNotFoundError("needs the package wandb: pip install 'unbraid[wandb]'")
        _check_names(project, tags)
        if init_timeout < 1:
            raise InputError(f"init_timeout must be at least 1 second, found {init_timeout}")
        self.project, self.entity, self.tags, self.mode, self.init_timeout = project, entity, list(tags), mode, init_timeout
        self.run: Any = None

    def check(self) -> None:
        """That `mode=online` can be."""
        if self.mode == "online" and (offline := why_offline()):
            raise self._not_online(offline)

    def open(self, run: About) -> set[int]:
        """InputError where `mode=online` cannot be."""
        self.folder = run.folder
        there = epochs_in(run.folder)
        if self.mode == "auto" and is_disabled():
            echo("wandb   is told nothing, WANDB_MODE=disabled", flush=True)
            return there
        offline = "as asked for" if self.mode == "offline" else why_offline()
        if offline is None:
            offline = self._begin(run, "online")
        if offline is not None:
            if self.mode == "online":
                raise self._not_online(offline)
            if reason := self._begin(run, "offline"):
                self._lose(reason)
                return there
        self._say(offline)
        return there if offline is not None else {*range(self.run.step)}  # the server knows what it has

    def epoch(self, number: int, figures: Figures, media: Sequence[Medium]) -> None:
        self._log(lambda: {**figures, **_shown(media)}, number)

    def result(self, result: Result) -> None:
        self._log(lambda: _row(result), result.step)

    def close(self, state: State) -> None:
        if self.run is not None:
            with self._unless_it_is_gone():
                self.run.summary["state"] = state
                self.run.finish(exit_code=EXIT_CODES.get(state, 1))

    def _log(self, row: Callable[[], dict[str, Any]], step: int) -> None:
        """What is made of files, and leaves some, may fail as well as what is sent."""
        if self.run is not None:
            with self._unless_it_is_gone():
                self.run.log(row(), step=step, commit=True)

    @contextmanager
    def _unless_it_is_gone(self) -> Iterator[None]:
        """Training goes on without W&B: what its process does not take is said once, and sent when the run goes on."""
        try:
            yield
        except failures() as error:
            self._lose(in_line(error))

    def _lose(self, reason: str) -> None:
        self.run = None
        echo(f"wandb   is lost, training goes on without it: {reason}", file=sys.stderr, flush=True)

    def _begin(self, run: About, mode: Literal["online", "offline"]) -> str | None:
        """The reason for which it cannot be, if so."""
        import wandb

        try:
            self.run = wandb.init(
                project=self.project, entity=self.entity, id=page_id(run.record), name=run.folder.name, group=run.sweep,
                job_type="train", tags=[*dict.fromkeys([*run.record["choices"].values(), *self.tags])], dir=str(run.folder),
                config=_config(run), mode=mode, resume="allow", reinit="create_new", settings=self._settings(),
            )  # fmt: skip
        except wandb.errors.UsageError as error:
            wandb.teardown()
            raise InputError(f"logger.wandb: {in_line(error)}") from error
        except failures() as error:
            wandb.teardown()  # or its process would hold the run's id
            return in_line(error)
        self.run.define_metric("epoch")
        self.run.define_metric("*", step_metric="epoch")
        return None

    def _settings(self) -> Any:
        """Without what W&B would gather of itself: the command line, paths, the user's name, and what is printed."""
        import wandb

        return wandb.Settings(
            init_timeout=self.init_timeout, finish_timeout=FINISH_SECONDS, x_transaction_log_flush_interval=FLUSH_SECONDS,
            silent=True, console="off", save_code=False, disable_git=True, disable_job_creation=True, x_disable_meta=True,
        )  # fmt: skip

    @staticmethod
    def _not_online(reason: str) -> InputError:
        return InputError(f"logger.wandb.mode=online: {reason}; set it to auto or offline")

    def _say(self, offline: str | None) -> None:
        if offline is None:
            echo(f"wandb   {self.run.url}", flush=True)
        else:
            echo(f"wandb   offline, {offline}; to upload it later: {sync_command(self.folder)}", flush=True)


def is_disabled() -> bool:
    """Whether W&B is switched off, by `WANDB_MODE` or its own settings."""
    import wandb

    return bool(wandb.setup(wandb.Settings(silent=True)).settings.mode == "disabled")


def why_offline() -> str | None:
    """None where W&B can be reached: there is an API key, and the server takes connections; decided within a second."""
    import wandb
    from wandb.sdk.lib.wbauth import read_netrc_auth

    settings = wandb.setup(wandb.Settings(silent=True)).settings
    if settings.mode != "online":
        return f"WANDB_MODE={settings.mode}"
    try:
        key = settings.api_key or settings.identity_token_file or read_netrc_auth(host=settings.base_url)
    except wandb.Error as error:
        return in_line(error)
    if not key:
        return "no API key"
    return None if takes_connections(settings.base_url) else f"{settings.base_url} does not answer"


def page_id(record: Mapping[str, Any]) -> str:
    """Of the run that a `run.json` is of, wherever its folder lies; W&B's agent gives its own runs theirs."""
    if AGENT in os.environ and (given := os.environ.get("WANDB_RUN_ID")):
        return given
    first = (record.get("earlier") or [record])[0]
    return f"{record['identity']}-{digest([first.get('host'), first.get('started')])[:8]}"


def sync_command(folder: Path) -> str:
    """That uploads all that lies offline in a run folder, in order."""
    here = Path.cwd()
    shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
    return f"wandb sync {shlex.quote(str(shown))}/wandb/offline-run-*"


def takes_connections(url: str) -> bool:
    """Whether the server of an address, or the proxy before it, does within a second; names are looked up within it too."""
    address = urlsplit(getproxies().get(urlsplit(url).scheme, url))
    port = address.port or (443 if address.scheme == "https" else 80)
    answers: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((address.hostname or "", port), timeout=PATIENCE).close()
        except OSError:
            answers.append(False)
        else:
            answers.append(True)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return answers == [True]


def epochs_in(folder: Path) -> set[int]:
    """Those that the offline files of a run folder hold."""
    return {
        int(record["history"]["item"]["epoch"])
        for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))
        for record in records(path)
        if "epoch" in record.get("history", {}).get("item", {})
    }


def records(path: Path) -> Iterator[dict[str, Any]]:
    """What a `.wandb` file holds, as wandb's own reader says; as far as it can be read."""
    reader = Path(sys.executable).with_name("wandb")
    command = [str(reader) if reader.is_file() else shutil.which("wandb") or "wandb", "leet", "inspect", "--json", str(path)]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in output.splitlines():
        yield json.loads(line)


def _config(run: About) -> dict[str, Any]:
    """What was run and with what; no paths."""
    record, carried = run.record, ("identity", "choices", "commit", "code", "versions", "host")
    own = {key: record[key] for key in carried if key in record} | {"overrides": sweep_overrides(record["overrides"])}
    own["arm"] = variant_name(redact_paths(record["overrides"]))
    config: dict[str, Any] = redact_paths({**run.config, "run": own | dict(run.facts)})
    return config


def _check_names(project: str, tags: Sequence[str]) -> None:
    """As wandb does, which would only say so once there is a run."""
    if not project:
        raise InputError("project is empty, expected a name")
    if len(project) > LONGEST_PROJECT or {*project} & {*NOT_IN_PROJECTS}:
        raise InputError(
            f"project must have at most {LONGEST_PROJECT} characters and none of {NOT_IN_PROJECTS}, found {project!r}"
        )
    wrong = [tag for tag in tags if not 1 <= len(tag) <= LONGEST_TAG]
    if wrong:
        raise InputError(f"tags must have 1 to {LONGEST_TAG} characters each, found {wrong[0]!r}")


def _row(result: Result) -> dict[str, Any]:
    import wandb

    row: dict[str, Any] = {**result.figures, **_shown(result.pictures)}
    if result.rows:
        row["test/tracks"] = wandb.Table(["track", "target", "measure", "score"], [list(row) for row in result.rows])
    return row | {f"test/histogram/{name}": wandb.Histogram(values) for name, values in result.by_measure.items()}


def _shown(media: Sequence[Medium]) -> dict[str, list[Any]]:
    import wandb

    makers = {"audio": wandb.Audio, "pictures": wandb.Image}
    found: dict[str, list[Any]] = {}
    for one in media:
        found.setdefault(one.key, []).append(makers[one.kind](str(one.path), caption=one.caption))
    return found


def failures() -> tuple[type[Exception], ...]:
    """What wandb raises where its process, a server or a disk fails."""
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError
    from wandb.sdk.mailbox.mailbox_handle import ServerResponseError

    # a TimeoutError is an OSError
    return wandb.Error, WandbApiFailedError, HandleAbandonedError, MailboxClosedError, ServerResponseError, OSError


def in_line(error: BaseException) -> str:
    """What it says, in a line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
