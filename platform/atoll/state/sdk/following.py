"""What others do to the region's store, followed live, so that a wait ends when what it is for has come."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from random import Random
from typing import TypeAlias

from atoll.resilience.backoff import Backoff
from atoll.state.errors import StateError
from atoll.state.store import Store
from atoll.state.vector import NOTHING, Actor, Dot, Vector

ACKS_BLOCK_S = 5.0
RETRY_BASE_S, RETRY_CAP_S = 0.02, 1.0

Follow: TypeAlias = Callable[[], AsyncIterator[Vector]]
"""Yields what the store knows, then what it has come to know, until the connection breaks."""


class Following:
    """What the region's store knows. Kept only while it is followed: one that restarts may know less than before."""

    def __init__(self, region: str, follow: Follow, chance: Random) -> None:
        self._region = region
        self._follow = follow
        self._chance = chance
        self._task: asyncio.Task[None] | None = None
        self._moved = asyncio.Condition()
        self._known: Vector | None = None

    @property
    def known(self) -> Vector:
        """Nothing while the store is not followed."""
        return self._known or NOTHING

    @property
    def actor(self) -> Actor | None:
        """As whom the region writes; None while its store is not followed."""
        latest = self.known.latest(self._region)
        return None if latest is None else latest.actor

    async def reached(self, needs: Vector, within_s: float) -> Vector:
        """Waits until the store knows `needs`; what it still lacks when the time is up."""
        if not self._lacking(needs):
            return NOTHING
        if self._task is None:
            self._task = asyncio.create_task(self._keep_following())
        try:
            async with asyncio.timeout(within_s), self._moved:
                await self._moved.wait_for(lambda: not self._lacking(needs))
        except TimeoutError:
            return self._lacking(needs)
        return NOTHING

    async def close(self) -> None:
        await _end(self._task)

    def _lacking(self, needs: Vector) -> Vector:
        """What the store itself wrote in this epoch is there, though nothing is said of it."""
        missing, own = self.known.missing(needs), self.actor
        return missing if own not in missing else Vector((at, missing[at]) for at in missing if at != own)

    async def _keep_following(self) -> None:
        backoff = Backoff(RETRY_BASE_S, RETRY_CAP_S, self._chance)
        while True:
            try:
                async for vector in self._follow():
                    backoff.reset()
                    async with self._moved:
                        self._known = vector if self._known is None else self._known.join(vector)
                        self._moved.notify_all()
            except StateError:
                pass  # whoever waits is told that the time is up
            self._known = None
            await asyncio.sleep(backoff.next_s())


class Acknowledgements:
    """Which regions have the region's own operations, durably."""

    def __init__(self, store: Store, chance: Random) -> None:
        self._store = store
        self._chance = chance
        self._task: asyncio.Task[None] | None = None
        self._came = asyncio.Condition()
        self._at: dict[str, Dot] = {}

    async def reached(self, dot: Dot, regions: Collection[str], within_s: float) -> bool:
        """Waits until one of `regions` has the operation; False if none had it in time."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep_reading())

        def there() -> bool:
            return any(
                at.actor == dot.actor and at.seq >= dot.seq
                for peer, at in self._at.items()
                if peer in regions
            )

        try:
            async with asyncio.timeout(within_s), self._came:
                await self._came.wait_for(there)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        await _end(self._task)

    async def _keep_reading(self) -> None:
        """One that was noted before the first read is not missed for long: heartbeats are acknowledged as well."""
        cursor, backoff = "", Backoff(RETRY_BASE_S, RETRY_CAP_S, self._chance)
        while True:
            try:
                found = await self._store.read_acks(cursor, ACKS_BLOCK_S if cursor else 0.0)
            except StateError:
                cursor = ""
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            cursor = found.cursor
            async with self._came:
                for ack in found.acks:
                    self._at[ack.peer] = ack.dot
                self._came.notify_all()


async def _end(task: "asyncio.Task[None] | None") -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
