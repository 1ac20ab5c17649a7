"""Ends what a run left behind. Found by the mark in its environment, so nothing else is ever touched."""

import asyncio
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from atoll.cell import processes
from atoll.cell.facts import RunFacts, read_facts
from atoll.cell.paths import RunPaths
from atoll.cell.processes import ProcessId

GRACE_S = 3.0


async def reap_run(paths: RunPaths) -> int:
    """Ends all that earlier runs of this folder left, removes Ray's folders; how many processes were found.

    The caller holds the folder's `RunLock`. Raises `processes.StillRunningError`.
    """
    facts = read_facts(paths)
    reaper = Reaper(paths.home, None, outputs(paths, facts))
    found = reaper.find()
    await reaper.reap()
    if facts is not None:
        remove_ray_folders(facts)
    return len(found)


def remove_ray_folders(facts: RunFacts) -> None:
    """Removes Ray's temporary folders of a run that has ended; they may lie outside the run's own."""
    for folder in facts.ray_folders.values():
        shutil.rmtree(folder, ignore_errors=True)


def outputs(paths: RunPaths, facts: RunFacts | None) -> dict[Path, str | None]:
    """The folders that processes of a run have their output in, each with the region whose it is."""
    regions = {} if facts is None else facts.ray_folders
    folders: dict[Path, str | None] = {folder: region for region, folder in regions.items()}
    return folders | {paths.region(region).log("ray").parent: region for region in regions}


class Reaper:
    """Finds, signals and ends all processes of a run, or of one region of it.

    It remembers what it found: a process that has overwritten its environment is known by its parent or its session
    alone, and once these have ended it could not be told any more.
    """

    def __init__(self, run: str, region: str | None, folders: Mapping[Path, str | None]) -> None:
        """`folders` as for `processes.find_marked`."""
        self._run = run
        self._region = region
        self._folders = folders
        self._found: set[ProcessId] = set()

    def find(self) -> list[ProcessId]:
        """Those that run now."""
        self._found |= {
            process.identity
            for process in processes.find_marked(self._run, self._region, folders=self._folders)
        }
        self._found = {identity for identity in self._found if processes.is_running(identity)}
        return sorted(self._found)

    async def reap(self, grace_s: float = GRACE_S) -> None:
        """Ends all of them. Raises `processes.StillRunningError`."""
        await processes.end_all(self.find, grace_s)

    async def kill(self) -> None:
        """SIGKILL to all of them at once; returns when they are gone."""
        while living := self.find():
            for identity in living:
                processes.signal(identity, signal.SIGKILL)
            await asyncio.gather(*(processes.wait_gone(identity) for identity in living))

    def signal(self, number: signal.Signals) -> None:
        """The same signal to all of them, those that they start meanwhile included."""
        told: set[ProcessId] = set()
        while fresh := set(self.find()) - told:
            for identity in fresh:
                processes.signal(identity, number)
            told |= fresh
