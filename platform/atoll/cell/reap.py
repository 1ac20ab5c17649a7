"""Ends what a run left behind. Found by the mark in its environment, so nothing else is ever touched."""

import asyncio
import shutil
import signal

from atoll.cell import processes
from atoll.cell.facts import RunFacts, read_facts
from atoll.cell.paths import RunPaths

GRACE_S = 3.0


async def reap_run(paths: RunPaths) -> int:
    """Ends all that earlier runs of this folder left, removes Ray's folders; how many processes were found.

    The caller holds the folder's `RunLock`. Raises `processes.StillRunningError`.
    """
    found = processes.find_marked(paths.home)
    if found:
        await processes.end_all(
            lambda: [process.identity for process in processes.find_marked(paths.home)], GRACE_S
        )
    facts = read_facts(paths)
    if facts is not None:
        remove_ray_folders(facts)
    return len(found)


def remove_ray_folders(facts: RunFacts) -> None:
    """Removes Ray's temporary folders of a run that has ended; they may lie outside the run's own."""
    for folder in facts.ray_folders.values():
        shutil.rmtree(folder, ignore_errors=True)


async def reap_region(run: str, region: str, grace_s: float = GRACE_S) -> None:
    """Ends all processes of one region of a run. Raises `processes.StillRunningError`."""
    await processes.end_all(
        lambda: [process.identity for process in processes.find_marked(run, region)], grace_s
    )


async def kill_region(run: str, region: str) -> None:
    """SIGKILL to all processes of one region of a run at once; returns when they are gone."""
    while living := processes.find_marked(run, region):
        for process in living:
            processes.signal(process.identity, signal.SIGKILL)
        await asyncio.gather(*(processes.wait_gone(process.identity) for process in living))


def signal_region(run: str, region: str, number: signal.Signals) -> None:
    """The same signal to all processes of one region of a run, those that they start meanwhile included."""
    told: set[processes.ProcessId] = set()
    while fresh := {process.identity for process in processes.find_marked(run, region)} - told:
        for identity in fresh:
            processes.signal(identity, number)
        told |= fresh
