"""Waits for the end of what one depends on: a process, a file."""

import asyncio
import signal
from pathlib import Path

from atoll.cell import processes
from atoll.cell.processes import ProcessId

MISSING_POLL_S = 1.0


async def set_when_gone(owner: ProcessId, stop: asyncio.Event) -> None:
    """Sets `stop` when the owner has ended, however it did; at once if it is gone already."""
    await processes.wait_gone(owner)
    stop.set()


async def set_when_missing(path: Path, stop: asyncio.Event) -> None:
    """Sets `stop` when a file has been gone at two looks: nobody could reach a run any more whose folder is removed."""
    missing = 0
    while missing < 2:
        await asyncio.sleep(MISSING_POLL_S)
        missing = 0 if path.exists() else missing + 1
    stop.set()


def set_on_signals(stop: asyncio.Event, hurry: asyncio.Event | None = None) -> None:
    """SIGTERM, SIGINT and SIGHUP set `stop`; the second of them sets `hurry`."""

    def told() -> None:
        if stop.is_set() and hurry is not None:
            hurry.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, told)
