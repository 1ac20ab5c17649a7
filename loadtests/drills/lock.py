"""One drill at a time on a run: its faults and another's would both be blamed on the other."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from atoll.cell.paths import RunPaths


class DrillRunning(Exception):
    """Another drill is under way on this run."""


@contextmanager
def drill_lock(paths: RunPaths) -> Iterator[None]:
    """Held while a drill is under way; the kernel gives it back however its holder dies. Raises `DrillRunning`."""
    file = paths.root / "drill.lock"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DrillRunning(
                f"another drill is under way on the run in {paths.root}; wait for its end, or end it with Ctrl-C there"
            ) from None
        yield
    finally:
        os.close(descriptor)
