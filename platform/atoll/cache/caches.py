"""Caches of a process: over a namespace of the state, or of values that a loader of one's own makes."""

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeAlias, TypeVar

from atoll.cache.policy import Policy, Write
from atoll.cache.source import Loaded, NoSession, Session, Source
from atoll.cache.store import CacheStoreUnavailable, Dropped, Place
from atoll.cache.tiers import Tiers, TiersStatistics, Wanted, memory_name, wanted
from atoll.state.values import Codec
from atoll.state.vector import NOTHING, Dot, Vector

T = TypeVar("T")

Dependency: TypeAlias = tuple[str, str]
"""Namespace and key in the state."""
Depends: TypeAlias = Sequence[Dependency] | Callable[[str], Sequence[Dependency]]
"""What every key of a cache depends on, or a function of the key."""

OWN: Final = "~"
"""Before the names of caches with loaders of their own; no namespace of the state begins with it."""


class Raw:
    """Bytes are bytes, with no word of their kind before them."""

    __slots__ = ()

    def encode(self, value: bytes) -> bytes:
        return value

    def decode(self, payload: bytes, namespace: str, key: str) -> bytes:
        return payload


RAW: Final = Raw()


class Cached(Generic[T]):
    """A cache over a namespace of the state."""

    def __init__(
        self, caches: "Callable[[], Caches]", source: Source, policy: Policy, codec: Codec[T]
    ) -> None:
        self._caches = caches
        self._source = source
        self._name = source.name
        self._policy = policy
        self._codec = codec

    async def get(self, key: str, *, wait_s: float | None = None) -> T | None:
        """The value of `key`; None if there is none.

        It is what the region's state had a second ago or later (or when its load began, if that took longer), and never
        older than what the reader's session has seen. Only if the state can't be read it may be older, within
        `Policy.error_s`. Costs microseconds from memory, a round trip within the region from the cache store. Raises
        what the state raises, and `TimeoutError` after `wait_s` seconds.
        """
        caches = self._caches()
        needs = await caches.session.needs(self._name)
        entry = caches.tiers.peek(memory_name(self._name, key), (), needs, dropped=True)
        if entry is None:
            entry = await caches.tiers.fetch(self._wanted(caches, key), needs, wait_s)
        if entry.dot is not None:
            caches.session.saw(self._name, entry.dot)
        return None if entry.value is None else self._codec.decode(entry.value, self._name, key)

    async def put(self, key: str, value: T) -> Dot:
        """Writes to the state, then drops the key from the region's cache. Raises what the state raises.

        A cache store that gives no answer is no failure: the agent drops it from the region's log. With
        `write_through` the next reader finds the new value.
        """
        return await self._write(key, self._codec.encode(value))

    async def delete(self, key: str) -> Dot:
        """As `put`, of nothing."""
        return await self._write(key, None)

    async def _write(self, key: str, content: bytes | None) -> Dot:
        caches = self._caches()
        dot = await self._source.store(key, content)
        await caches.wrote(self._name, key, dot)
        if self._policy.write is Write.LOAD:
            await caches.tiers.warm(self._wanted(caches, key), Vector.of([dot]))
        return dot

    def _wanted(self, caches: "Caches", key: str) -> Wanted:
        load = partial(caches.load, partial(self._source.load, key))
        return wanted(Place(self._name, key), load, self._policy, dropped=True)


class Computed(Generic[T]):
    """A cache of what a loader makes."""

    def __init__(
        self,
        caches: "Callable[[], Caches]",
        name: str,
        loader: Callable[[str], Awaitable[T | None]],
        policy: Policy,
        codec: Codec[T],
        depends: Depends,
    ) -> None:
        self._caches = caches
        self._name = OWN + name
        self._loader = loader
        self._policy = policy
        self._codec = codec
        self._depends = depends

    async def get(self, key: str, *, wait_s: float | None = None) -> T | None:
        """What the loader makes of `key`; None if it makes nothing.

        A write to something that it depends on drops it, with the guarantees of `Cached.get`. Without dependencies its
        time is all that ends an entry. Raises what the loader raises, `LoadTimeout`, and `TimeoutError` after `wait_s`
        seconds.
        """
        caches = self._caches()
        depends = tuple(self._depends(key) if callable(self._depends) else self._depends)
        needs = await caches.session.needs(*{namespace for namespace, _ in depends}) if depends else NOTHING
        names = tuple(memory_name(*each) for each in depends)
        entry = caches.tiers.peek(memory_name(self._name, key), names, needs, dropped=bool(depends))
        if entry is None:
            load = partial(caches.load, partial(self._load, caches, key, depends))
            want = wanted(Place(self._name, key, depends), load, self._policy, dropped=bool(depends))
            entry = await caches.tiers.fetch(want, needs, wait_s)
        return None if entry.value is None else self._codec.decode(entry.value, self._name, key)

    async def flush(self) -> None:
        """Drops every entry of the region, and what is in this process's memory; other processes' live a second longer.

        Raises `CacheStoreUnavailable`.
        """
        caches = self._caches()
        caches.tiers.forget_all()
        await caches.tiers.store.flush([self._name])

    async def _load(self, caches: "Caches", key: str, depends: Sequence[Dependency]) -> Loaded:
        # The vector first: read after the load, it could cover a write that the load did not see.
        vector = await caches.position() if depends else NOTHING
        value = await self._loader(key)
        return Loaded(None if value is None else self._codec.encode(value), None, vector)


class NoPosition(RuntimeError):
    """A cache depends on the state, and nobody told its process how to read the state's vector."""


async def _no_position() -> Vector:
    raise NoPosition(
        "a cache with `depends` must know how far the region's state is: give `Caches` a `position`"
    )


@dataclass(frozen=True, slots=True)
class CachesStatistics:
    """A snapshot."""

    tiers: TiersStatistics
    undropped: int
    """Own writes whose drop was left to the agent, since the store gave no answer."""


class Caches:
    """All caches of a process. For one event loop; not for several threads."""

    def __init__(
        self,
        tiers: Tiers,
        session: Session | None = None,
        position: Callable[[], Awaitable[Vector]] = _no_position,
        loading: Callable[[], AbstractContextManager[object]] = nullcontext,
        closing: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`position` reads the vector of the region's state; needed for caches with `depends`.

        `loading` is entered around each load: one that belongs to no reader has no context of its own. `closing` ends
        the connections that `tiers` uses.
        """
        self.tiers = tiers
        self.session: Session = session or NoSession()
        self.position = position
        self._loading = loading
        self._closing = closing
        self._undropped = 0

    async def load(self, load: Callable[[], Awaitable[Loaded]]) -> Loaded:
        """Runs a load, in a context in which the state can be read."""
        with self._loading():
            return await load()

    async def wrote(self, namespace: str, key: str, dot: Dot) -> None:
        """This process has written to the state: drops the key here and in the region, or leaves that to the agent.

        Telling it twice changes nothing, and costs nothing.
        """
        dropped = Dropped(namespace, key, dot)
        self.session.saw(namespace, dot)
        if not self.tiers.drop(dropped):
            return
        try:
            await self.tiers.store.drop([dropped], math.ceil(self.tiers.policy.floor_s * 1000))
        except CacheStoreUnavailable:
            self._undropped += 1

    async def close(self) -> None:
        """Ends loads under way, and closes connections."""
        await self.tiers.close()
        if self._closing is not None:
            await self._closing()

    def statistics(self) -> CachesStatistics:
        return CachesStatistics(self.tiers.statistics(), self._undropped)
