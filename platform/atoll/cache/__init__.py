"""Caches that are never silently wrong: memory, then the region's cache store, then the loader.

    from atoll import cache, state

    prices = cache.over(state.namespace("prices"), cache.aside(ttl_s=60), model=Price)
    await prices.get("lamp"), await prices.put("lamp", Price(cents=1250))

    # Others are write_through and refresh_ahead, and a loader of one's own:
    pages = cache.of("pages", loader=render, policy=cache.aside(ttl_s=300), depends=lambda key: [("prices", key)])

A write in any region drops its key from the caches of every region within the replication's lag; a process's memory
may answer with the old value for a second more, except to a reader whose session has seen a newer one. Losing the cache
store costs time and nothing else.
"""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast, overload

from atoll.cache.binding import NoCaches, StateSource, of_scope, opened
from atoll.cache.caches import (
    RAW,
    Cached,
    Caches,
    CachesStatistics,
    Computed,
    Dependency,
    Depends,
    NoPosition,
)
from atoll.cache.invalidations import Invalidations, InvalidationsStatistics, LogGap, OwnLog, Tail
from atoll.cache.policy import Policy, TierPolicy, Write, aside, refresh_ahead, write_through
from atoll.cache.source import Loaded, Session, Source
from atoll.cache.store import CacheStoreUnavailable, Dropped
from atoll.cache.tiers import LoadTimeout, Tiers
from atoll.cache.valkey_store import ValkeyCacheStore
from atoll.state.sdk.namespace import Namespace
from atoll.state.values import Codec, codec_for

__all__ = [
    "CACHES",
    "CacheStoreUnavailable",
    "Cached",
    "Caches",
    "CachesStatistics",
    "Codec",
    "Computed",
    "Dependency",
    "Depends",
    "Dropped",
    "Invalidations",
    "InvalidationsStatistics",
    "LoadTimeout",
    "Loaded",
    "LogGap",
    "NoCaches",
    "NoPosition",
    "OwnLog",
    "Policy",
    "Session",
    "Source",
    "Tail",
    "TierPolicy",
    "Tiers",
    "ValkeyCacheStore",
    "Write",
    "aside",
    "of",
    "opened",
    "over",
    "refresh_ahead",
    "write_through",
]

T = TypeVar("T")

CACHES: Final[ContextVar[Caches | None]] = ContextVar("caches", default=None)
"""Other caches than those of the process, for whoever runs now; for tests and tools."""


def current() -> Caches:
    """The caches of the process. Raises `NoCaches`."""
    return CACHES.get() or of_scope()


@overload
def over(source: Namespace, policy: Policy = ..., *, caches: Callable[[], Caches] = ...) -> Cached[Any]: ...
@overload
def over(
    source: Namespace, policy: Policy = ..., *, model: type[T], caches: Callable[[], Caches] = ...
) -> Cached[T]: ...
@overload
def over(source: Source, policy: Policy = ..., *, caches: Callable[[], Caches] = ...) -> Cached[bytes]: ...
@overload
def over(
    source: Source, policy: Policy = ..., *, codec: Codec[T], caches: Callable[[], Caches] = ...
) -> Cached[T]: ...
def over(
    source: Namespace | Source,
    policy: Policy | None = None,
    *,
    model: Any = None,
    codec: Codec[Any] = RAW,
    caches: Callable[[], Caches] = current,
) -> Cached[Any]:
    """A cache over the registers of a namespace, whose values are as in `Namespace.register` with the same `model`.

    It finds its process's `Caches` when it is used. A `Source` of one's own is cached as bytes, or as `codec` reads it.
    """
    if isinstance(source, Namespace):
        return Cached(caches, StateSource(source.name), policy or Policy(), codec_for(model))
    return Cached(caches, source, policy or Policy(), codec)


@overload
def of(
    name: str,
    loader: Callable[[str], Awaitable[bytes | None]],
    policy: Policy = ...,
    *,
    depends: Depends = ...,
    caches: Callable[[], Caches] = ...,
) -> Computed[bytes]: ...
@overload
def of(
    name: str,
    loader: Callable[[str], Awaitable[T | None]],
    policy: Policy = ...,
    *,
    codec: Codec[T],
    depends: Depends = ...,
    caches: Callable[[], Caches] = ...,
) -> Computed[T]: ...
def of(
    name: str,
    loader: Callable[[str], Awaitable[T | None]] | Callable[[str], Awaitable[bytes | None]],
    policy: Policy | None = None,
    *,
    codec: Codec[T] | Codec[bytes] = RAW,
    depends: Depends = (),
    caches: Callable[[], Caches] = current,
) -> Computed[T] | Computed[bytes]:
    """A cache of what `loader` makes of a key. `name` means the same in every process of the region.

    `depends` says which keys of the state an entry is made from (for all keys, or as a function of the key): a write to
    one of them drops it.
    """
    return Computed(caches, name, loader, policy or Policy(), cast("Codec[Any]", codec), depends)
