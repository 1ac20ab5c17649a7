"""Ports for tests, of which many run side by side, in several processes and several runs.

All are given out in blocks, each of which one process has locked: nobody else's test gets a port of it.
"""

import contextlib
import fcntl
import itertools
import random
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

BLOCK = 500
BASES = range(10_000, 32_000, BLOCK)
"""Below the range that outgoing connections take their ports from."""
LATELY_S = 60.0
"""Who was given ports listens on them by then."""
WAIT_S = 2 * LATELY_S
"""Others give back by then what they don't need any more."""


class _Blocks:
    """The blocks that this process has locked; the kernel unlocks them when it ends, however it does."""

    def __init__(self) -> None:
        self._locks: dict[int, tuple[TextIO, float]] = {}
        self._single = self._singles()

    def port(self) -> int:
        return next(self._single)

    def base(self, count: int) -> int:
        """Waits until there are some."""
        deadline = time.monotonic() + WAIT_S
        while (found := self._found(count)) is None:
            if time.monotonic() > deadline:
                raise RuntimeError("no block of ports is free; end other runs first")
            time.sleep(0.2)  # another process's lock tells nobody when it is gone
        return found

    def _found(self, count: int) -> int | None:
        """Out of blocks that it has already, as far as it can: there are few. None if there is no room."""
        now = time.monotonic()
        self._unlock([block for block, (_, since) in self._locks.items() if now - since > LATELY_S])
        bases = list(BASES[: len(BASES) - count + 1])
        random.SystemRandom().shuffle(bases)
        bases.sort(key=lambda base: sum(block not in self._locks for block in _blocks(base, count)))
        for base in bases:
            fresh = [block for block in _blocks(base, count) if block not in self._locks]
            if all(map(self._lock, _blocks(base, count))) and all(
                map(_is_free, range(base, base + count * BLOCK))
            ):
                return base
            self._unlock(fresh)
        return None

    def _singles(self) -> Iterator[int]:
        """The ports of one block, which is kept, in turn."""
        block = self.base(1)
        self._locks[block] = self._locks[block][0], float("inf")
        for port in itertools.cycle(range(block, block + BLOCK)):
            if _is_free(port):
                yield port

    def _lock(self, block: int) -> bool:
        """Whether it is this process's. What it was given before and does not listen on is free again."""
        if block in self._locks:
            lock, since = self._locks[block]
            self._locks[block] = lock, max(since, time.monotonic())
            return since < float("inf")
        folder = Path(tempfile.gettempdir()) / "atoll-tests-ports"
        folder.mkdir(exist_ok=True)
        lock = (folder / str(block)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._locks[block] = lock, time.monotonic()
        return True

    def _unlock(self, blocks: Iterable[int]) -> None:
        """Who listens there is seen by others all the same."""
        for block in blocks:
            if block in self._locks:
                self._locks.pop(block)[0].close()


def _blocks(base: int, count: int) -> range:
    return range(base, base + count * BLOCK, BLOCK)


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        # Connections that have ended (TIME_WAIT) keep no listener away.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


_OURS = _Blocks()


def free_port() -> int:
    """A port that nobody listens on, and that this process was not given lately."""
    return _OURS.port()


def free_base(blocks: int) -> int:
    """A base from which the blocks of 500 ports that a run takes are free now, and were given to nobody lately."""
    return _OURS.base(blocks)
