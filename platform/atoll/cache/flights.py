"""One flight a key in a process: whoever wants what is being fetched waits for that, rather than fetching it again.

Go's `singleflight`, with what asyncio adds: a reader that is cancelled or runs out of time leaves, and the flight goes
on for the others, and for the cache. A failure is told to those who waited, once; the next reader begins anew.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class FlightsStatistics:
    """A snapshot. Counters run from the start."""

    under_way: int
    begun: int
    joined: int
    """Readers that found a flight under way."""
    failed: int


class Flights(Generic[V]):
    """The flights of one event loop; not for several threads."""

    __slots__ = ("_begun", "_by_key", "_failed", "_joined", "_tasks")

    def __init__(self) -> None:
        self._by_key: dict[Hashable, asyncio.Task[V]] = {}
        self._tasks: set[asyncio.Task[V]] = set()
        """All under way, also those that nobody can join any more."""
        self._begun = 0
        self._joined = 0
        self._failed = 0

    async def join(self, key: Hashable, fetch: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """What the flight of `key` brings; begins one with `fetch` if none is under way. Raises what the flight raises.

        Bound the wait with `asyncio.timeout`: leaving harms nobody. A flight belongs to no reader, and runs outside
        every reader's context (deadline, session, trace).
        """
        task = self._by_key.get(key)
        if task is None:
            task = self._begin(key, fetch)
        else:
            self._joined += 1
        return await asyncio.shield(task)

    def begin(self, key: Hashable, fetch: Callable[[], Coroutine[Any, Any, V]]) -> None:
        """Begins a flight that nobody need wait for, unless one of `key` is under way."""
        if key not in self._by_key:
            _ = self._begin(key, fetch)

    def forget(self, key: Hashable) -> None:
        """Readers from now on begin anew: what the flight brings may be older than what they may see."""
        self._by_key.pop(key, None)

    async def close(self) -> None:
        """Ends all flights; those who wait for one are cancelled with it."""
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def statistics(self) -> FlightsStatistics:
        return FlightsStatistics(len(self._tasks), self._begun, self._joined, self._failed)

    def _begin(self, key: Hashable, fetch: Callable[[], Coroutine[Any, Any, V]]) -> asyncio.Task[V]:
        self._begun += 1
        loop = asyncio.get_running_loop()
        task = loop.create_task(fetch(), context=contextvars.Context())
        self._by_key[key] = task
        self._tasks.add(task)

        def landed(task: asyncio.Task[V]) -> None:
            self._tasks.discard(task)
            if self._by_key.get(key) is task:
                del self._by_key[key]
            # Looked at here, so that a failure that everybody has stopped waiting for is not reported as lost.
            if not task.cancelled() and task.exception() is not None:
                self._failed += 1

        task.add_done_callback(landed)
        return task
