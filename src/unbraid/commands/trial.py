"""Measure memory and speed of a run in a new process, which trains the run for a few steps."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from unbraid.runs.records import Run


def trial(run: Run) -> dict[str, Any]:
    """Measure one run in a new process, which trains the run for a few steps in a temporary folder.

    Args:
        run: run with its complete config.

    Returns:
        The result of `unbraid.commands.probe`, with the key `start`: the time in s for imports, data and model. If the run
        fails, a dictionary with the key `error`.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = replace(run, folder=Path(folder, run.folder.name))
        copy.freeze()
        started = time.monotonic()
        result = subprocess.run(
            [sys.executable, "-m", "unbraid.commands.probe", str(copy.folder)],
            capture_output=True, text=True, env=os.environ | {"TQDM_DISABLE": "1"},
        )  # fmt: skip
        elapsed = time.monotonic() - started
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}, possibly out of memory"]
        return {"error": lines[-1].removeprefix("error: ")}
    output: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return output | {"start": elapsed - output["trial"]}  # imports, data and model, in s
