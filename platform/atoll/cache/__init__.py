"""Caches that are never silently wrong: memory, then the region's cache store, then the loader.

    from atoll import cache

    prices = cache.over(namespace, cache.aside(ttl_s=60))            # or write_through, refresh_ahead
    await prices.get("lamp"), await prices.put("lamp", b"12.50")

    pages = cache.of("pages", loader=render, policy=cache.aside(ttl_s=300), depends=lambda key: [("prices", key)])

A write in any region drops its key from the caches of every region within the replication's lag; a process's memory
may answer with the old value for a second more, except to a reader whose session has seen a newer one. Losing the cache
store costs time and nothing else.
"""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast, overload

from atoll.cache.caches import (
    RAW,
    Cached,
    Caches,
    CachesStatistics,
    Codec,
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
    "over",
    "refresh_ahead",
    "write_through",
]

T = TypeVar("T")

CACHES: Final[ContextVar[Caches]] = ContextVar("caches")
"""The caches of the process, for whoever runs now. Set by what starts a replica."""


class NoCaches(RuntimeError):
    """A cache was used where none is open."""


def current() -> Caches:
    """The caches of the process. Raises `NoCaches`."""
    try:
        return CACHES.get()
    except LookupError:
        raise NoCaches(
            "a cache was used outside a replica with state; run the service under `atoll up`, or give over() and of() "
            "their `caches`"
        ) from None


@overload
def over(source: Source, policy: Policy = ..., *, caches: Callable[[], Caches] = ...) -> Cached[bytes]: ...
@overload
def over(
    source: Source, policy: Policy = ..., *, codec: Codec[T], caches: Callable[[], Caches] = ...
) -> Cached[T]: ...
def over(
    source: Source,
    policy: Policy | None = None,
    *,
    codec: Codec[T] | Codec[bytes] = RAW,
    caches: Callable[[], Caches] = current,
) -> Cached[T] | Cached[bytes]:
    """A cache over a namespace of the state. It finds its process's `Caches` when it is used."""
    return Cached(caches, source, policy or Policy(), cast("Codec[Any]", codec))


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
