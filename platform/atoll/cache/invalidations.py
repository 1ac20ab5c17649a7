"""Drops from the region's cache what has been written: the order of things, and what happens when the store is away.

A write of **another region**: floor first, then state, then vector. If the agent dies in between, the floor stays too
high for a while, which costs loads; the other way round the entry would stay too old. The floors are raised once more
afterwards, in case the cache store lost them in between.

A write of the **own region**: state first, as its dot is known only then; a load from before it can't fill any more,
since its vector doesn't cover that dot. The writing replica drops at once; the agent reads the region's own log and
drops the same again, which changes nothing, unless the writer died before its drop.

While the cache store gives no answer the drops are kept, and there is no **pulse**. Readers believe an entry for a
second after the last pulse, so what was not dropped is not believed either: neither after an outage, nor by a reader
that noticed none, nor while the agent is down.
"""

import contextlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Never, Protocol

from atoll.cache.store import CacheStore, CacheStoreUnavailable, Dropped
from atoll.clock import Clock
from atoll.state.vector import NOTHING, Dot, Vector

PULSE_S: Final = 0.2
"""Between pulses. With a trust of 1 s, four may be lost before anybody loads for it."""
KEPT: Final = 20_000
"""Drops that are kept for a store that gives no answer; more become a flush of their namespaces."""


class LogGap(Exception):
    """The region's own log no longer has what follows the cursor."""


@dataclass(frozen=True, slots=True)
class Tail:
    """A piece of the region's own log."""

    dropped: Sequence[Dropped]
    cursor: str
    """Where the next piece begins."""
    whole: bool
    """Whether everything is in it that was written before it was asked for."""


class OwnLog(Protocol):
    """The log of the region's own writes."""

    async def end(self) -> str:
        """The cursor behind its last entry."""
        ...

    async def after(self, cursor: str, wait_s: float) -> Tail:
        """What follows; waits up to `wait_s` seconds for the first. Raises `LogGap`, `StateError` or `OSError`."""
        ...


@dataclass(frozen=True, slots=True)
class InvalidationsStatistics:
    """A snapshot. Counters run from the start."""

    dropped: int
    kept: int
    """Drops that still wait for the store."""
    flushes: int
    pulses: int
    silent_s: float
    """Since everything that had been written was last known to be dropped; infinite before the first pulse."""


class Invalidations:
    """The region's invalidator. There is one, in the agent: a replica's own drops go through its `Caches`."""

    def __init__(self, store: CacheStore, clock: Clock, floor_s: float = 60.0) -> None:
        """`store` answers within a bound (`GuardedStore`): applying waits for it.

        `floor_s` is longer than the state of any replica lags behind a drop, and than any load takes.
        """
        self._store = store
        self._clock = clock
        self._floor_ms = math.ceil(floor_s * 1000)
        self._kept: dict[tuple[str, str], Vector] = {}
        self._flush: set[str] = set()
        """Namespaces that still wait for their flush."""
        self._offset_ms: float | None = None
        """The store's clock less this process's monotonic one, or a little less."""
        self._heard: float | None = None
        self._dropped = 0
        self._flushes = 0
        self._pulses = 0

    @contextlib.asynccontextmanager
    async def applying(self, dropped: Sequence[Dropped]) -> AsyncIterator[None]:
        """Around the step that puts other regions' writes into this region's state. Never fails, nor waits for long."""
        await self.drop(dropped)
        try:
            yield
        finally:
            await self.drop(dropped)

    async def drop(self, dropped: Sequence[Dropped]) -> bool:
        """Raises floors; false if the store gives no answer: they are kept then, and raised before the next pulse."""
        if not dropped:
            return True
        try:
            await self._store.drop(dropped, self._floor_ms)
        except CacheStoreUnavailable:
            self._keep(dropped)
            return False
        self._dropped += len(dropped)
        return True

    async def flush(self, namespaces: Sequence[str]) -> bool:
        """Drops whole namespaces (a resync: nobody knows what has changed); false if that must wait for the store."""
        self._flush.update(namespaces)
        return await self._settle()

    async def pulse(self, as_of: float) -> bool:
        """Everything that was written before `as_of` (the clock's monotonic seconds) has been given to `drop`.

        Says so in the store once all that was kept is dropped too; false if the store gives no answer.
        """
        if not await self._settle():
            return False
        try:
            if self._offset_ms is None:
                await self._pulse(0)
            await self._pulse(int(as_of * 1000 + (self._offset_ms or 0.0)))
        except CacheStoreUnavailable:
            return False
        self._heard = as_of
        self._pulses += 1
        return True

    async def follow(self, log: OwnLog, namespaces: Callable[[], Sequence[str]]) -> Never:
        """Drops what the region itself writes, and gives the pulse, until cancelled. Raises what the log raises.

        Begins with a flush: what an agent before this one left undone is known to nobody.
        """
        cursor: str | None = None
        while True:
            if cursor is None:
                cursor = await log.end()
                await self.flush(namespaces())
            asked = self._clock.monotonic()
            try:
                tail = await log.after(cursor, PULSE_S)
            except LogGap:
                cursor = None
                continue
            await self.drop(tail.dropped)
            cursor = tail.cursor
            if tail.whole and (self._heard is None or asked - self._heard >= PULSE_S / 2):
                await self.pulse(asked)

    def statistics(self) -> InvalidationsStatistics:
        silent_s = math.inf if self._heard is None else self._clock.monotonic() - self._heard
        return InvalidationsStatistics(
            dropped=self._dropped,
            kept=len(self._kept) + len(self._flush),
            flushes=self._flushes,
            pulses=self._pulses,
            silent_s=silent_s,
        )

    def _keep(self, dropped: Sequence[Dropped]) -> None:
        for each in dropped:
            if each.namespace not in self._flush:
                place = (each.namespace, each.key)
                self._kept[place] = self._kept.get(place, NOTHING).raised(*each.dot)
        if len(self._kept) > KEPT:
            self._flush.update(namespace for namespace, _ in self._kept)
            self._kept.clear()

    async def _settle(self) -> bool:
        """Does what is left from while the store gave no answer. A drop that comes meanwhile is not forgotten."""
        flush, kept = sorted(self._flush), dict(self._kept)
        try:
            if flush:
                await self._store.flush(flush)
            self._flush.difference_update(flush)
            self._flushes += len(flush)
            dropped = [Dropped(*place, Dot(*dot)) for place, vector in kept.items() for dot in vector.items()]
            if dropped:
                await self._store.drop(dropped, self._floor_ms)
        except CacheStoreUnavailable:
            return False
        for place, vector in kept.items():
            if self._kept.get(place) == vector:
                del self._kept[place]
        self._dropped += len(dropped)
        return not self._kept and not self._flush

    async def _pulse(self, heard_ms: int) -> None:
        now_ms = await self._store.pulse(heard_ms)
        self._offset_ms = now_ms - self._clock.monotonic() * 1000
