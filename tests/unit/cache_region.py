"""One region on virtual time: its state, its log, its cache store with faults, its agent, and the processes that read.

For tests of the cache: what the production code does here depends on a seed alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import ParamSpec, TypeVar

from atoll.cache import Dropped, Loaded, Tail
from atoll.cache.model import ModelCacheStore
from atoll.cache.store import CacheStore, CacheStoreUnavailable, Fill, Found, Place
from atoll.clock import Clock
from atoll.state.vector import NOTHING, Dot, Vector

OWN = "here.1700000000"
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class State:
    """The region's state: per key the newest write, and when it came."""

    clock: Clock
    chance: Random
    name: str = "things"
    load_s: float = 0.004
    vector: Vector = NOTHING
    history: dict[str, list[tuple[float, int, Dot]]] = field(default_factory=dict)
    log: list[Dropped] = field(default_factory=list)
    wrote: asyncio.Event = field(default_factory=asyncio.Event)
    loads: int = 0
    fails: bool = False

    def apply(self, key: str, dot: Dot) -> None:
        """State, then vector: one step."""
        writes = self.history.setdefault(key, [])
        writes.append((self.clock.monotonic(), len(writes) + 1, dot))
        self.vector = self.vector.raised(*dot)

    def write(self, key: str) -> Dot:
        dot = Dot(OWN, self.vector.seq(OWN) + 1)
        self.apply(key, dot)
        self.log.append(Dropped(self.name, key, dot))
        self.wrote.set()
        return dot

    def version_at(self, key: str, when: float) -> int:
        return max((version for at, version, _ in self.history.get(key, ()) if at <= when), default=0)

    async def load(self, key: str) -> Loaded:
        self.loads += 1
        await asyncio.sleep(self.load_s * self.chance.random())
        if self.fails:
            raise ConnectionError("the state is away")
        vector = self.vector
        if self.chance.random() < 0.5:
            await asyncio.sleep(self.load_s * self.chance.random())
        writes = self.history.get(key)
        value = None if not writes else b"%d" % writes[-1][1]
        dot = writes[-1][2] if writes else None
        await asyncio.sleep(self.load_s * self.chance.random())
        return Loaded(value, dot, vector)

    async def store(self, key: str, value: bytes | None) -> Dot:
        await asyncio.sleep(0.001 * self.chance.random())
        return self.write(key)

    async def end(self) -> str:
        return str(len(self.log))

    async def after(self, cursor: str, wait_s: float) -> Tail:
        begin = int(cursor)
        if begin == len(self.log):
            self.wrote.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self.wrote.wait()
            except TimeoutError:
                pass
        piece = self.log[begin : begin + 20]
        whole = begin + len(piece) == len(self.log)
        await asyncio.sleep(0.002 * self.chance.random())
        return Tail(piece, str(begin + len(piece)), whole)


class Line:
    """The way from one process to the cache store: slow, refused, or held up while the store is frozen.

    What was sent is carried out, whether its sender still waits or not.
    """

    def __init__(self, store: CacheStore, chance: Random, latency_s: float = 0.001) -> None:
        self.store = store
        self.chance = chance
        self.latency_s = latency_s
        self.refused = False
        self.thawed = asyncio.Event()
        self.thawed.set()
        self._orders: set[asyncio.Task[object]] = set()

    async def get(self, place: Place, token: str, owner: str, lease_ms: int, unless: str = "") -> Found:
        return await self._send(self.store.get, place, token, owner, lease_ms, unless)

    async def fill(self, place: Place, token: str, vector: Vector, entry: bytes, keep_ms: int) -> Fill:
        return await self._send(self.store.fill, place, token, vector, entry, keep_ms)

    async def release(self, place: Place, token: str, pause_ms: int) -> None:
        await self._send(self.store.release, place, token, pause_ms)

    async def drop(self, dropped: Sequence[Dropped], floor_ms: int) -> None:
        await self._send(self.store.drop, dropped, floor_ms)

    async def flush(self, namespaces: Sequence[str]) -> None:
        await self._send(self.store.flush, namespaces)

    async def pulse(self, heard_ms: int) -> int:
        return await self._send(self.store.pulse, heard_ms)

    async def _send(self, order: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        if self.refused:
            raise CacheStoreUnavailable("refused")

        async def carry() -> T:
            await asyncio.sleep(self.latency_s * self.chance.random())
            await self.thawed.wait()
            return await order(*args, **kwargs)

        task = asyncio.create_task(carry())
        self._orders.add(task)
        task.add_done_callback(self._orders.discard)
        answer = await asyncio.shield(task)
        await asyncio.sleep(self.latency_s * self.chance.random())
        return answer


class NoFloors(ModelCacheStore):
    """Drops delete and no more; fills are taken from whoever comes."""

    async def drop(self, dropped: Sequence[Dropped], floor_ms: int) -> None:
        for each in dropped:
            self._record(each.namespace, each.key).entry = None

    async def fill(self, place: Place, token: str, vector: Vector, entry: bytes, keep_ms: int) -> Fill:
        record = self._record(place.namespace, place.key)
        record.floor = NOTHING
        return await super().fill(place, token, vector, entry, keep_ms)


class NoLeases(ModelCacheStore):
    """Whoever misses loads."""

    async def get(self, place: Place, token: str, owner: str, lease_ms: int, unless: str = "") -> Found:
        self._record(place.namespace, place.key).lease = None
        return await super().get(place, token, owner, lease_ms, unless)


class Lossy(ModelCacheStore):
    """Drops as pub/sub delivers them: most of the time."""

    async def drop(self, dropped: Sequence[Dropped], floor_ms: int) -> None:
        await super().drop([each for each in dropped if each.dot.seq % 3], floor_ms)
