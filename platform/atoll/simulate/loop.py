"""An asyncio event loop on virtual time: coroutines run as they are, and waiting costs nothing.

When no callback is ready, time jumps to the next timer. Nothing else moves it, so a run depends on its program and its
random numbers alone, and an hour of waiting takes as long as what happens in it. The idea is that of FoundationDB's
simulator (Zhou et al., "FoundationDB: A Distributed Unbundled Transactional Key Value Store", SIGMOD 2021): the
production code on a single thread, with the clock, the network and the faults in the hands of a seed.
"""

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

EPOCH = 1_700_000_000.0
"""What wall time is when virtual time is zero."""

T = TypeVar("T")


class Stuck(RuntimeError):
    """Everything waits and no timer will ever end the waiting: a deadlock, in the simulated code or the simulator."""


class VirtualClock:
    """Seconds since the beginning of the run. Only the loop moves it."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return EPOCH + self.now


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose `time` is virtual. It has no I/O and no threads."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        super().__init__(_Jump(self.clock))

    def time(self) -> float:
        return self.clock.now


class _Jump(selectors.BaseSelector):
    """Where a selector would wait for a time, this one passes it. Files are registered and never ready."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._keys: dict[int, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck(f"nothing is left to happen after {self._clock.now:.3f} s, and yet something waits")
        if timeout > 0:
            self._clock.now += timeout
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self._keys[descriptor] = selectors.SelectorKey(fileobj, descriptor, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


def run(loop: VirtualLoop, main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` to its end, cancels what it left behind, and closes the loop. Raises `Stuck` for a deadlock."""
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
