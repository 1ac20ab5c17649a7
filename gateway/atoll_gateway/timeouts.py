"""Ends requests whose time is up.

`asyncio.timeout` costs a timer of the event loop for each request, which is nearly always cancelled unused: several
microseconds. Here requests are put into slots by their deadline, and one timer looks at the slot that is due. (Varghese
and Lauck, "Hashed and Hierarchical Timing Wheels", 1987.)
"""

import asyncio

from atoll.clock import Clock

TICK_S = 0.01
"""A request is ended at most this much after its deadline, never before."""


class Watched:
    """A request whose time runs."""

    __slots__ = ("_task", "expired", "slot")

    def __init__(self, task: "asyncio.Task[object]", slot: int) -> None:
        self.slot = slot
        self.expired = False
        """Its time is up, and its task has been cancelled for that."""
        self._task = task

    def expire(self) -> None:
        self.expired = True
        self._task.cancel()

    def cut(self) -> bool:
        """Told of a cancellation: whether it came from here alone, and not also from a client that went away."""
        return self.expired and self._task.uncancel() <= 0


class Timeouts:
    """The requests of one process by the time at which they have to be over."""

    def __init__(self, clock: Clock, tick_s: float = TICK_S) -> None:
        self._clock = clock
        self._tick_s = tick_s
        self._slots: dict[int, set[Watched]] = {}
        self._done = 0  # the last slot that was looked at
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, at: float) -> Watched:
        """Cancels the current task at `at` on the clock's monotonic time, unless `release` comes first."""
        task = asyncio.current_task()
        assert task is not None
        slot = int(at / self._tick_s) + 1
        watched = Watched(task, slot)
        try:
            self._slots[slot].add(watched)
        except KeyError:
            self._slots[slot] = {watched}
            if self._timer is None:
                self._done = int(self._clock.monotonic() / self._tick_s)
                self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)
        return watched

    def release(self, watched: Watched) -> None:
        """The request is over."""
        slot = self._slots.get(watched.slot)
        if slot is not None:
            slot.discard(watched)

    def _tick(self) -> None:
        now = int(self._clock.monotonic() / self._tick_s)
        for slot in range(self._done + 1, now + 1):
            for watched in self._slots.pop(slot, ()):
                watched.expire()
        self._done = now
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick) if self._slots else None
