"""Weights & Biases logger: one page per run with scalars, audio, pictures and tables, online or in a file for a later upload.

The id of the page is computed from the hash of the config and the time of the first start of the run. A resumed run therefore
continues its own page. If the process is killed, the page lacks the latest epochs. When the run resumes, the class `Loggers`
sends the missing epochs.
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
from unbraid.runs.records import State, digest, sweep_overrides, variant_name
from unbraid.runs.text import echo, redact_paths
from unbraid.training.loggers.logger import About, Figures, Logger, Result
from unbraid.training.loggers.media import Medium

Mode = Literal["auto", "online", "offline"]
EXIT_CODES = {"done": 0, "pruned": 0, "interrupted": 130}
CONNECT_SECONDS = 0.8  # time limit of a connection to the server
FLUSH_SECONDS = 2.0  # a kill loses at most the last seconds of the file
FINISH_SECONDS = 60.0  # time limit of the upload at the end; the file stays on disk
LONGEST_PROJECT, NOT_IN_PROJECTS = 128, "/\\#?%:"  # limits of wandb
AGENT = "WANDB_SWEEP_ID"  # environment variable that is set if an agent of W&B started this process


class Wandb(Logger):
    """Log a run to a page at Weights & Biases (W&B).

    Args:
        project: name of the project at W&B.
        entity: W&B user or team; None: the default of the account.
        mode: `online`, `offline` or `auto`. `auto` means `online` if an API key exists and the server accepts a connection
            within a second; otherwise it means `offline`.
        init_timeout: time limit for the first answer of the server, in seconds, at least 1.

    Raises:
        InputError: `project` or `init_timeout` is invalid.
        ModuleNotFoundError: the package wandb is not installed.
    """

    def __init__(self, project: str, entity: str | None, mode: Mode, init_timeout: float) -> None:
        if find_spec("wandb") is None:
            raise ModuleNotFoundError("the package wandb is not installed; type: pip install 'unbraid[wandb]'")
        _check_project(project)
        if init_timeout < 1:
            raise InputError("init_timeout", found=init_timeout, expected="at least 1 second")
        self.project, self.entity, self.mode, self.init_timeout = project, entity, mode, init_timeout
        self.run: Any = None

    def check(self) -> None:
        """With `mode=online`, check that W&B can be used online. With the other modes, do nothing.

        With `mode=online`, a missing API key or an unreachable server raises InputError.
        """
        if self.mode == "online":
            self._check_online(why_offline())

    def open(self, run: About) -> set[int]:
        """Open the page of the run, online or as a local file for a later upload.

        A local file is used with `mode=offline`. With `mode=auto`, a local file is used if W&B cannot be used online. With
        `mode=online`, InputError is raised if W&B cannot be used online.

        Args:
            run: description of the run.

        Returns:
            Numbers of the epochs that the page already contains.
        """
        self.folder = run.folder
        logged = epochs_in(run.folder)
        if self.mode == "auto" and is_disabled():
            echo("wandb   off, WANDB_MODE=disabled", flush=True)
            return logged
        offline = "logger.wandb.mode=offline" if self.mode == "offline" else why_offline()
        if offline is None:
            offline = self._begin(run, "online")
        if offline is not None:
            self._check_online(offline)
            if reason := self._begin(run, "offline"):
                self._give_up(reason)
                return logged
        if offline is None:
            echo(f"wandb   {self.run.url}", flush=True)
            return {*range(self.run.step)}  # epochs on the server
        echo(f"wandb   offline, {offline}; to upload it later: {sync_command(self.folder)}", flush=True)
        return logged

    def epoch(self, number: int, figures: Figures, media: Sequence[Medium]) -> None:
        """Log the metrics, audio and pictures of an epoch to the page at W&B."""
        self._log(lambda: {**figures, **_media(media)}, number)

    def result(self, result: Result) -> None:
        """Log the test results to the page at W&B: pictures, and scores as scalars, as a table and as histograms."""
        self._log(lambda: _row(result), result.step)

    def close(self, state: State) -> None:
        """Write the final state of the run to the page at W&B, and wait at most 60 s for the upload."""
        if self.run is not None:
            with self._giving_up():
                self.run.summary["state"] = state
                self.run.finish(exit_code=EXIT_CODES.get(state, 1))

    def _log(self, row: Callable[[], dict[str, Any]], step: int) -> None:
        """Log the values that the function `row` returns. If wandb fails, training continues without W&B."""
        if self.run is not None:
            with self._giving_up():
                self.run.log(row(), step=step, commit=True)

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        """If wandb fails in the `with` block, continue training without W&B. A resumed run sends the missing epochs later."""
        try:
            yield
        except failures() as error:
            self._give_up(in_line(error))

    def _give_up(self, reason: str) -> None:
        self.run = None
        echo(f"wandb   failed, training continues without it: {reason}", file=sys.stderr, flush=True)

    def _begin(self, run: About, mode: Literal["online", "offline"]) -> str | None:
        """Open the page of the run at W&B. If wandb fails, return the reason as text; otherwise return None."""
        import wandb

        try:
            self.run = wandb.init(
                project=self.project, entity=self.entity, id=page_id(run.record), name=run.folder.name, group=run.sweep,
                job_type="train", tags=[*dict.fromkeys([*run.record["choices"].values(), *run.record.get("tags", ())])],
                notes=redact_paths(run.record.get("notes")), dir=str(run.folder),
                config=_config(run), mode=mode, resume="allow", reinit="create_new", settings=self._settings(),
            )  # fmt: skip
        except wandb.errors.UsageError as error:
            wandb.teardown()
            raise InputError("logger.wandb", f"W&B cannot start a run ({in_line(error)})") from error
        except failures() as error:
            wandb.teardown()  # ends the process of wandb, which otherwise blocks the id of the run
            return in_line(error)
        self.run.define_metric("epoch")
        self.run.define_metric("*", step_metric="epoch")
        return None

    def _settings(self) -> Any:
        """Return settings of wandb. With these settings, wandb uploads no command line, paths, user name or printed text."""
        import wandb

        return wandb.Settings(
            init_timeout=self.init_timeout, finish_timeout=FINISH_SECONDS, x_transaction_log_flush_interval=FLUSH_SECONDS,
            silent=True, console="off", save_code=False, disable_git=True, disable_job_creation=True, x_disable_meta=True,
        )  # fmt: skip

    def _check_online(self, reason: str | None) -> None:
        """Raise InputError if `mode=online`, but W&B cannot be used online.

        `reason` states why W&B cannot be used online; None: W&B can be used.
        """
        if self.mode == "online" and reason:
            raise InputError("logger.wandb.mode=online", f"W&B is not usable ({reason})", hint="Set mode to auto or offline.")


def is_disabled() -> bool:
    """Return whether W&B is disabled by the environment variable `WANDB_MODE` or by the settings of wandb."""
    import wandb

    return bool(wandb.setup(wandb.Settings(silent=True)).settings.mode == "disabled")


def why_offline() -> str | None:
    """Return the reason why W&B cannot be used online; None if an API key exists and the server accepts connections.

    The check takes at most about one second.
    """
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
    """Return the id of the run's page at W&B. The id does not change when the run folder is moved.

    If the agent of a W&B sweep has started the run, the agent has chosen the id.

    Args:
        record: content of the run's `run.json`.

    Returns:
        Id of the page.
    """
    if AGENT in os.environ and (agent_id := os.environ.get("WANDB_RUN_ID")):
        return agent_id
    first = (record.get("earlier") or [record])[0]
    return f"{record.get('experiment', record['identity'])}-{digest([first.get('host'), first.get('started')])[:8]}"


def sync_command(folder: Path) -> str:
    """Return the shell command that uploads the offline log files of wandb from a run folder to W&B."""
    here = Path.cwd()
    path = folder.relative_to(here) if folder.is_relative_to(here) else folder
    return f"wandb sync {shlex.quote(str(path))}/wandb/offline-run-*"


def takes_connections(url: str) -> bool:
    """Return True if a server, or the proxy in front of the server, accepts a connection within 0.8 s.

    The DNS query is included in the 0.8 s.
    """
    address = urlsplit(getproxies().get(urlsplit(url).scheme, url))
    port = address.port or (443 if address.scheme == "https" else 80)
    answers: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((address.hostname or "", port), timeout=CONNECT_SECONDS).close()
        except OSError:
            answers.append(False)
        else:
            answers.append(True)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return answers == [True]


def epochs_in(folder: Path) -> set[int]:
    """Return the numbers of the epochs in the offline log files of wandb in a run folder."""
    return {
        int(record["history"]["item"]["epoch"])
        for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))
        for record in records(path)
        if "epoch" in record.get("history", {}).get("item", {})
    }


def records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a `.wandb` log file as dictionaries. The command `wandb leet inspect --json` reads the file."""
    reader = Path(sys.executable).with_name("wandb")
    command = [str(reader) if reader.is_file() else shutil.which("wandb") or "wandb", "leet", "inspect", "--json", str(path)]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in output.splitlines():
        yield json.loads(line)


def _config(run: About) -> dict[str, Any]:
    """Return the config that the page at W&B shows: the config of the run, and a key `run` with parts of `run.json`.

    The returned config contains no paths.
    """
    record, keys = run.record, ("identity", "choices", "commit", "code", "versions", "host")
    parts = {key: record[key] for key in keys if key in record} | {"overrides": sweep_overrides(record["overrides"])}
    parts["variant"] = variant_name(redact_paths(record["overrides"]))
    config: dict[str, Any] = redact_paths({**run.config, "run": parts | dict(run.facts)})
    return config


def _check_project(project: str) -> None:
    """Raise InputError if W&B does not allow the project name. wandb itself checks the name only later."""
    if not 1 <= len(project) <= LONGEST_PROJECT or {*project} & {*NOT_IN_PROJECTS}:
        expected = f"1 to {LONGEST_PROJECT} characters, but none of {' '.join(NOT_IN_PROJECTS)}"
        raise InputError("project", "W&B does not allow this project name", found=repr(project), expected=expected)


def _row(result: Result) -> dict[str, Any]:
    import wandb

    row: dict[str, Any] = {**result.figures, **_media(result.pictures)}
    if result.rows:
        row["test/tracks"] = wandb.Table(["track", "target", "measure", "score"], [list(row) for row in result.rows])
    return row | {f"test/histogram/{name}": wandb.Histogram(values) for name, values in result.by_measure.items()}


def _media(media: Sequence[Medium]) -> dict[str, list[Any]]:
    import wandb

    makers = {"audio": wandb.Audio, "pictures": wandb.Image}
    by_key: dict[str, list[Any]] = {}
    for medium in media:
        by_key.setdefault(medium.key, []).append(makers[medium.kind](str(medium.path), caption=medium.caption))
    return by_key


def failures() -> tuple[type[Exception], ...]:
    """Return the exception classes that wandb raises if its process, its server or the disk fails."""
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError
    from wandb.sdk.mailbox.mailbox_handle import ServerResponseError

    # a TimeoutError is an OSError
    return wandb.Error, WandbApiFailedError, HandleAbandonedError, MailboxClosedError, ServerResponseError, OSError


def in_line(error: BaseException) -> str:
    """Return the message of an exception in one line of at most 200 characters; its class name if the message is empty."""
    return " ".join(str(error).split())[:200] or type(error).__name__
