"""Waits for the end of the process that one depends on."""

import asyncio
import signal

from atoll.cell import processes
from atoll.cell.processes import ProcessId


async def set_when_gone(owner: ProcessId, stop: asyncio.Event) -> None:
    """Sets `stop` when the owner has ended, however it did; at once if it is gone already."""
    await processes.wait_gone(owner)
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
