"""Processes of one machine that do something one after the other."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path

_POLL_S = 0.1


@contextlib.asynccontextmanager
async def turn(lock: Path) -> AsyncIterator[None]:
    """Has its turn while the block runs: waits for as long as another process, or task, has it by the same file.

    The kernel ends the turn of a process that dies, however it dies (``flock(2)``). Raises `OSError` if the file can't
    be made.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _taken(descriptor):  # noqa: ASYNC110  a flock that waits would hold a thread that can't be cancelled
            await asyncio.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
