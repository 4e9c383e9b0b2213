"""Fixture that runs hostile inputs in a child process with limited memory and time, so that the machine is safe."""

import os
import resource
import subprocess
import sys

import pytest


@pytest.fixture
def limited(tmp_path):
    """Run Python with arguments in a child process; a time-out raises `subprocess.TimeoutExpired`.

    `limited("script.py", "key=value")` runs a script, `limited("-c", code, argument)` runs code. The result has `returncode`,
    `stdout` and `stderr`. More memory than `megabytes` ends in a `MemoryError` or an abort of the child.
    """

    def run(*words, seconds=120, megabytes=4000, cwd=tmp_path, **environment):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

        command = [sys.executable, *map(str, words)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, preexec_fn=limit, cwd=cwd, env=os.environ | environment
        )

    return run
