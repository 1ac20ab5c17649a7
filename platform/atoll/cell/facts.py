"""``run.json``: what is known of a run from outside it, and the lock that one run at a time holds."""

import asyncio
import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from atoll.cell import processes
from atoll.cell.paths import RunPaths
from atoll.cell.processes import ProcessId
from atoll.topology.wiring import write_private

LOCK_PATIENCE_S = 5.0
LOCK_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the supervisor writes down before it starts anything."""

    run: str
    """The mark of its processes, ``<home>/<run id>``."""
    supervisor: ProcessId
    started_at: str
    """RFC 3339, UTC."""
    topology_file: str
    port_base: int | None
    entry_url: str
    ray_folders: Mapping[str, Path]
    """Region -> Ray's temporary folder, to be removed when the run is over."""


_FACTS = TypeAdapter(RunFacts)


def write_facts(paths: RunPaths, facts: RunFacts) -> None:
    write_private(paths.facts, _FACTS.dump_json(facts, indent=1))


def read_facts(paths: RunPaths) -> RunFacts | None:
    """The facts of the run that is, or the last that was; None if there are none that can be read."""
    try:
        return _FACTS.validate_json(paths.facts.read_bytes())
    except (OSError, ValidationError):
        return None


class AlreadyRunning(Exception):
    """Another supervisor holds the lock of this folder. `facts` are its run's, if it has written them yet."""

    def __init__(self, root: Path, facts: RunFacts | None) -> None:
        where = (
            f"at {facts.entry_url} (supervisor {facts.supervisor.pid})"
            if facts
            else "and is starting or ending"
        )
        super().__init__(
            f"a run of {root} is up already {where}; see `atoll status`, end it with `atoll down`"
        )
        self.facts = facts


class RunLock:
    """The right to run in a folder. The kernel gives it back however its holder dies."""

    def __init__(self, paths: RunPaths) -> None:
        """Takes the lock. Raises `AlreadyRunning`."""
        paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Not inheritable: a process that outlives its supervisor must not hold the lock on.
        self._descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise AlreadyRunning(paths.root, read_facts(paths)) from None

    def release(self) -> None:
        os.close(self._descriptor)


async def take_lock(paths: RunPaths) -> RunLock:
    """The lock of a folder whose supervisor has ended. It may hold on for an instant: a process that is killed counts
    as ended before the kernel has closed its files, and one that it was just starting has them too until it has begun.

    Raises `AlreadyRunning` at once if the supervisor of the run's facts is alive, else after `LOCK_PATIENCE_S`.
    """
    try:
        async with asyncio.timeout(LOCK_PATIENCE_S):
            return await _poll_lock(paths)
    except TimeoutError:
        return RunLock(paths)


async def _poll_lock(paths: RunPaths) -> RunLock:
    while True:
        try:
            return RunLock(paths)
        except AlreadyRunning as error:
            if error.facts is not None and processes.is_running(error.facts.supervisor):
                raise
        await asyncio.sleep(LOCK_POLL_S)


def is_locked(paths: RunPaths) -> bool:
    """Whether some supervisor holds the lock now. Makes nothing."""
    if not paths.lock.exists():
        return False
    try:
        RunLock(paths).release()
    except AlreadyRunning:
        return True
    return False
