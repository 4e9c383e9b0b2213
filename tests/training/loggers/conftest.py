"""Helpers that read the offline files of the real wandb with the reader of wandb."""

import time

import pytest

from unbraid.training.loggers.wandb_page import records

KEYS = ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_SWEEP_ID", "WANDB_RUN_ID")


@pytest.fixture(autouse=True)
def _own_wandb(tmp_path, monkeypatch):
    """Remove the user's settings of wandb, and keep its files out of the user's home folder."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb"))


def pages(folder):
    """Return the records of each offline file of a run folder, in order. Each file must contain the exit."""
    return [whole(path) for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]


def whole(path):
    """Return the records of a file, once it contains the exit: wandb completes the file after the process of the run ends."""
    for _ in range(600):
        page = list(records(path))
        if any("exit" in record for record in page):
            return page
        time.sleep(0.1)
    raise AssertionError(f"{path} has no exit: {[record['type'] for record in page]}")


def history(page):
    """Return the logged values by step."""
    return {record["history"]["item"]["_step"]: record["history"]["item"] for record in page if "history" in record}


def header(page):
    (run,) = (record["run"] for record in page if record["type"] == "run")
    return run


def exit_code(page):
    (code,) = (record["exit"].get("exit_code", 0) for record in page if "exit" in record)
    return code


def summary(page):
    return {key: value for record in page if "summary" in record for key, value in record["summary"].get("update", {}).items()}
