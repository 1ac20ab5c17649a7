"""What the cache asks of a region's cache store. `ValkeyCacheStore` is one; `ModelCacheStore` the same in memory.

A **record** is what the store holds for one key of one namespace: an entry, a lease, a floor and a mark, any of which
may be missing. The store evicts whole records, so a lease never outlives the floor that would have rejected its fill.

- A **lease** is the right to fill. One a record; whoever gets none waits for the fill. (Nishtala et al., "Scaling
  Memcache at Facebook", NSDI 2013.)
- A **floor** is a vector: a fill is taken only if its vector covers it, so a value read before a write never lands
  after the write's drop, nor does one that is read between the drop and the write's arrival in this region's state.
- A **mark** is an identity that is given once and changes with every drop. An entry that depends on other records
  keeps their marks, and is none any more once one has changed or is lost. A namespace has one mark of its own, its
  generation.
- The **pulse** is when the region's invalidator was last known to have dropped everything that was written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from atoll.state.vector import Dot, Vector


class CacheStoreUnavailable(Exception):
    """The cache store gave no answer, or a bad one. The order may have been carried out."""


class LeaseState(StrEnum):
    """What became of a wish for a lease."""

    NONE = "none"
    """The entry is a good one: no lease is needed."""
    GRANTED = "granted"
    HELD = "held"
    """Somebody else loads it."""
    PAUSED = "paused"
    """A load failed a moment ago."""


class Fill(StrEnum):
    """What became of a fill."""

    TAKEN = "taken"
    OVERTAKEN = "overtaken"
    """By a drop: the value is older than a write that the cache knows of."""
    LOST = "lost"
    """The lease is over: by time, eviction, or a store that lost everything. The value is as good as any."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry is kept, and what it depends on."""

    namespace: str
    key: str
    depends: tuple[tuple[str, str], ...] = ()
    """Namespace and key of each."""


@dataclass(frozen=True, slots=True)
class Found:
    """A record, and what the store makes of the wish for its lease. Milliseconds are the store's clock."""

    now_ms: int
    heard_ms: int | None
    """The pulse; None if there is none."""
    entry: bytes | None
    fill: str
    """Which fill made the entry; empty without one."""
    lease: LeaseState


@dataclass(frozen=True, slots=True)
class Dropped:
    """A write, for the records that it concerns."""

    namespace: str
    key: str
    dot: Dot


class CacheStore(Protocol):
    """Every method is one atomic step. All raise `CacheStoreUnavailable`."""

    async def get(self, place: Place, token: str, owner: str, lease_ms: int, unless: str = "") -> Found:
        """The entry; or, without one, a lease with `token`.

        `unless` names a fill that the caller won't have: its entry is answered, and a lease is wished for all the same.
        `owner` begins the tokens of a caller who has no other load of this record under way: a lease of its own that it
        has forgotten (its answer was lost) is given again. Empty if it has.
        """
        ...

    async def fill(self, place: Place, token: str, vector: Vector, entry: bytes, keep_ms: int) -> Fill:
        """Puts the entry in its place, if the lease holds and every floor is covered."""
        ...

    async def release(self, place: Place, token: str, pause_ms: int) -> None:
        """Gives the lease back without a fill. Nobody gets the next one before `pause_ms` are over."""
        ...

    async def drop(self, dropped: Sequence[Dropped], floor_ms: int) -> None:
        """Raises floors and drops entries and leases below them. Repeating it changes nothing."""
        ...

    async def flush(self, namespaces: Sequence[str]) -> None:
        """Drops all entries and leases of namespaces: new generations."""
        ...

    async def pulse(self, heard_ms: int) -> int:
        """Everything that was written before `heard_ms` has been dropped. Answers the store's time, in milliseconds.

        The time is absolute, so that a pulse which a frozen store carries out late says nothing that is not so.
        """
        ...
