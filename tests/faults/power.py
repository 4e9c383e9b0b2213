"""Simulate a power failure: a renamed file whose data were not written to the disk before is found empty."""

import os
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def failing():
    """Record the files and folders that are renamed inside the block before their data are on the disk, and yield their list.

    `os.fsync` marks the current content of a file as written. A file that changed later needs another call.
    """
    synced: dict[int, tuple[int, int]] = {}
    lost: list[str] = []
    fsync = os.fsync

    def state(status: os.stat_result) -> tuple[int, int]:
        return status.st_size, status.st_mtime_ns

    def sync(descriptor):
        fsync(descriptor)
        status = os.fstat(descriptor)
        synced[status.st_ino] = state(status)

    def checked(name):
        call = getattr(os, name)

        def rename(source, target, **options):
            files = [Path(source)] if Path(source).is_file() else [path for path in Path(source).rglob("*") if path.is_file()]
            if any(synced.get((status := path.stat()).st_ino) != state(status) for path in files):
                lost.append(str(target))
            return call(source, target, **options)

        return rename

    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename", "replace", "link"):
            patch.setattr(os, name, checked(name))
        patch.setattr(os, "fsync", sync)
        yield lost
