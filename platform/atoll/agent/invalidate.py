"""The region's invalidator, in its agent: whatever is written to the state, anywhere, is dropped from the cache store.

The order of things, and what holds while the cache store is away, stands in `atoll.cache.invalidations`.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from random import Random
from typing import Final, Never

from redis.asyncio import Redis

from atoll.cache import (
    Dropped,
    Invalidations,
    InvalidationsStatistics,
    LogGap,
    Tail,
    TierPolicy,
    ValkeyCacheStore,
)
from atoll.cache.guard import GuardedStore
from atoll.clock import Clock
from atoll.resilience.backoff import Backoff
from atoll.state.errors import StateError
from atoll.state.operation import place
from atoll.state.store import ApplyResult, Batch, Cell, Listing, MergeResult, Store
from atoll.state.valkey_store import ValkeyStore
from atoll.state.vector import Dot
from atoll.stores import open_store
from atoll.topology.wiring import StoreAccess

ENTRIES: Final = 1000
"""Of the own log, read at once."""
RETRY_BASE_S, RETRY_CAP_S = 0.05, 1.0

log = logging.getLogger(__name__)


class Invalidator:
    """One region's."""

    def __init__(self, access: StoreAccess, clock: Clock, chance: Random) -> None:
        """`access` is the region's cache store. Raises `SecretError`."""
        policy = TierPolicy()
        self._store = ValkeyCacheStore(open_store(access, retries=1))
        self._chance = chance
        self.invalidations = Invalidations(
            GuardedStore(self._store, clock, policy.store_wait_s), clock, policy.floor_s
        )

    async def run(self, state: Store, region: str, namespaces: Callable[[], Iterable[str]]) -> Never:
        """Follows the log of the region's own writes, for ever. `namespaces` are those that it may hold."""
        backoff = Backoff(RETRY_BASE_S, RETRY_CAP_S, self._chance)
        while True:
            try:
                await self.invalidations.follow(StateLog(state, region), lambda: sorted(namespaces()))
            except (StateError, OSError) as error:
                log.info(
                    "the own log can't be followed; the cache is flushed once it can",
                    extra={"reason": str(error)},
                )
            await asyncio.sleep(backoff.next_s())

    def statistics(self) -> InvalidationsStatistics:
        return self.invalidations.statistics()

    async def close(self) -> None:
        await self._store.close()


class StateLog:
    """The log of the region's own writes, for `Invalidations.follow`. A cursor is a dot as text."""

    def __init__(self, store: Store, region: str) -> None:
        self._store = store
        self._region = region

    async def end(self) -> str:
        latest = (await self._store.vector()).latest(self._region)
        return "" if latest is None else str(latest)

    async def after(self, cursor: str, wait_s: float) -> Tail:
        found = await self._store.read_log(Dot.parse(cursor) if cursor else None, ENTRIES, wait_s)
        if found.gap:
            raise LogGap(f"the log of {self._region} no longer has what follows {cursor}")
        if not found.entries:
            return Tail((), cursor, whole=True)
        dropped = written((entry.dot, entry.operation) for entry in found.entries)
        return Tail(dropped, str(found.entries[-1].dot), whole=len(found.entries) < ENTRIES)


class InvalidatingStore(ValkeyStore):
    """The region's store as its agent uses it: what comes from other regions is dropped from the cache store with it.

    A cache store that gives no answer holds this up for no longer than its guard's bound.
    """

    __slots__ = ("_invalidations",)

    def __init__(self, client: Redis, tail: Redis, region: str, invalidations: Invalidations) -> None:
        super().__init__(client, tail, region)
        self._invalidations = invalidations

    async def apply(self, batch: Batch) -> ApplyResult:
        dropped = written((Dot(batch.actor, seq), operation) for seq, operation in batch.entries)
        async with self._invalidations.applying(dropped):
            return await super().apply(batch)

    async def merge(self, namespace: str, cells: Sequence[Cell]) -> MergeResult:
        async with self._flushing(namespace):
            return await super().merge(namespace, cells)

    async def settle(self, namespace: str, bucket: int, theirs: Listing) -> int:
        async with self._flushing(namespace):
            return await super().settle(namespace, bucket, theirs)

    @contextlib.asynccontextmanager
    async def _flushing(self, namespace: str) -> AsyncIterator[None]:
        """A transfer brings states, not writes. After a step of it nothing from before it is believed."""
        try:
            yield
        finally:
            await self._invalidations.flush([namespace])


def written(operations: Iterable[tuple[Dot, bytes]]) -> list[Dropped]:
    """What operations of a log have written. Pure."""
    found = ((dot, place(operation)) for dot, operation in operations)
    return [Dropped(*where, dot) for dot, where in found if where is not None]
