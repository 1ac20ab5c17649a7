"""The cache store, never waited for longer than a bound, and left alone while it does not answer.

A cache is there to be fast: a store that answers late is worth less than a load. After a few failures in a row it is
not asked at all for a while (a breaker), so that its loss costs each reader nothing but the load.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, ParamSpec, TypeVar

from atoll.cache.store import CacheStore, CacheStoreUnavailable, Dropped, Fill, Found, Place
from atoll.clock import Clock
from atoll.resilience.breaker import Breaker, BreakerStatistics
from atoll.state.vector import Vector
from atoll.topology import BreakerPolicy

BREAKER: Final = BreakerPolicy(consecutive=3, failure_rate=0.5, minimum=20, window_s=5.0, open_s=0.1)
"""It opens for 0.1 s, doubling up to 0.8 s: a store that is gone costs one reader of a process 50 ms about
every second, and one that is back is used within a second."""

P = ParamSpec("P")
T = TypeVar("T")


class GuardedStore:
    """A cache store whose every answer takes at most `wait_s` seconds; `CacheStoreUnavailable` otherwise."""

    def __init__(self, store: CacheStore, clock: Clock, wait_s: float) -> None:
        self._store = store
        self._wait_s = wait_s
        self._breaker = Breaker(clock, BREAKER, lambda: None)
        self._orders: set[asyncio.Task[Any]] = set()
        """Under way, also those that nobody waits for any more."""

    def statistics(self) -> BreakerStatistics:
        return self._breaker.statistics()

    async def get(self, place: Place, token: str, owner: str, lease_ms: int, unless: str = "") -> Found:
        return await self._answer(self._store.get, place, token, owner, lease_ms, unless)

    async def fill(self, place: Place, token: str, vector: Vector, entry: bytes, keep_ms: int) -> Fill:
        return await self._answer(self._store.fill, place, token, vector, entry, keep_ms)

    async def release(self, place: Place, token: str, pause_ms: int) -> None:
        await self._answer(self._store.release, place, token, pause_ms)

    async def drop(self, dropped: Sequence[Dropped], floor_ms: int) -> None:
        await self._answer(self._store.drop, dropped, floor_ms)

    async def flush(self, namespaces: Sequence[str]) -> None:
        await self._answer(self._store.flush, namespaces)

    async def pulse(self, heard_ms: int) -> int:
        return await self._answer(self._store.pulse, heard_ms)

    async def _answer(self, ask: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        permit = self._breaker.admit()
        if permit is None:
            raise CacheStoreUnavailable(
                "the cache store did not answer before, and is left alone for a moment"
            )
        # A task, so that the bound holds however long a client takes to give up a connection on which nothing moves.
        order = asyncio.create_task(ask(*args, **kwargs))
        self._orders.add(order)
        order.add_done_callback(self._over)
        try:
            await asyncio.wait((order,), timeout=self._wait_s)
        except asyncio.CancelledError:
            order.cancel()
            self._breaker.ignored(permit)  # its reader gave up, which says nothing of the store
            raise
        if not order.done():
            order.cancel()
            self._breaker.failed(permit)
            raise CacheStoreUnavailable(f"the cache store gave no answer within {self._wait_s:g} s")
        try:
            answer = order.result()
        except CacheStoreUnavailable:
            self._breaker.failed(permit)
            raise
        self._breaker.succeeded(permit)
        return answer

    def _over(self, order: asyncio.Task[Any]) -> None:
        self._orders.discard(order)
        if not order.cancelled():
            order.exception()  # looked at, so that one that nobody waited for is not reported as lost
