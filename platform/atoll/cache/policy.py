"""How a cache treats its entries: settings, and the three usual ways as one line each."""

from dataclasses import dataclass, replace
from enum import StrEnum


class Write(StrEnum):
    """What `put` does to the cache once the state has the value."""

    DROP = "drop"
    """The entry is dropped; the next reader loads it."""
    LOAD = "load"
    """It is dropped and loaded again before `put` returns, so that the next reader finds it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Seconds are counted from the load. Raises `ValueError` for what makes no sense."""

    ttl_s: float = 60.0
    """Fresh for this long, unless a write drops it."""
    stale_s: float = 30.0
    """After that it is served for this long while one reader's process loads it anew in the background
    (`stale-while-revalidate`, RFC 5861)."""
    error_s: float = 600.0
    """After `ttl_s` it is served for this long if it can't be loaded (`stale-if-error`, RFC 5861)."""
    negative_s: float = 5.0
    """`ttl_s` of the knowledge that there is no value. It is never served stale."""
    early: float = 1.0
    """XFetch's beta: how eagerly an entry is refreshed before its end; 0 turns that off."""
    ahead: float = 1.0
    """Once this share of `ttl_s` is over, any read refreshes the entry in the background; 1 turns that off."""
    load_s: float = 2.0
    """The longest load, and the life of its lease. A process that dies with the lease frees it after this long."""
    pause_s: float = 0.1
    """After a failed load nobody in the region tries again for this long."""
    write: Write = Write.DROP

    def __post_init__(self) -> None:
        for name in ("ttl_s", "negative_s", "load_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"a cache's {name} is {getattr(self, name)}; it must be above 0")
        for name in ("stale_s", "error_s", "early", "pause_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"a cache's {name} is {getattr(self, name)}; it must be 0 or more")
        if not 0 < self.ahead <= 1:
            raise ValueError(f"a cache's ahead is {self.ahead}; it is a share of ttl_s: above 0, at most 1")

    @property
    def keep_s(self) -> float:
        """How long a value is kept at all."""
        return self.ttl_s + max(self.stale_s, self.error_s)


def aside(ttl_s: float = 60.0, **others: float) -> Policy:
    """Cache-aside: a read loads what is missing, a write drops the entry. `others` are fields of `Policy`."""
    return replace(Policy(ttl_s=ttl_s), **others)  # type: ignore[arg-type]


def write_through(ttl_s: float = 60.0, **others: float) -> Policy:
    """Write-through: as `aside`, and a write returns when the cache has the new value.

    It is loaded from the state rather than taken from the writer: of two writes at once the state knows which one won.
    """
    return replace(Policy(ttl_s=ttl_s, write=Write.LOAD), **others)  # type: ignore[arg-type]


def refresh_ahead(ttl_s: float = 60.0, ahead: float = 0.8, **others: float) -> Policy:
    """Refresh-ahead: as `aside`, and a key that is read in the last part of its time is loaded before its end.

    No reader of a key that is read often then waits for its load.
    """
    return replace(Policy(ttl_s=ttl_s, ahead=ahead), **others)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class TierPolicy:
    """What all caches of one process share."""

    memory_bytes: int = 32 * 2**20
    memory_s: float = 1.0
    """The longest that a process's memory answers without a look at the cache store. It is what bounds staleness there:
    a drop in the region's cache store reaches the other processes no other way."""
    trust_s: float = 1.0
    """How long after the last word of the region's invalidator (`Invalidations.pulse`) entries are still believed."""
    floor_s: float = 60.0
    """How long a floor is kept: longer than any replica's state lags behind its agent's drop, and than any load."""
    store_wait_s: float = 0.05
    """The longest wait for one answer of the cache store."""
    loads: int = 32
    """Loads under way at once in this process. They guard the source when the cache store is gone."""
    poll_s: float = 0.002
    """First wait for somebody else's load; it doubles, with jitter, up to `poll_most_s`."""
    poll_most_s: float = 0.05
