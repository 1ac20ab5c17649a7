"""What a region's state store does: the contract of the Valkey function library and of its model.

Every method that changes something does all of it in one atomic step, and has it on disk before it answers. Names and
keys are text without NUL; values are bytes. The stores' bytes (envelopes, dots, totals) are laid out in `envelope`,
`types.counter` and `types.awset`, the log's in `operation`, the digests' in `digest`. Text is compared by its bytes
everywhere: stamps, actors and fields. (Lua's ``<`` goes by the server's locale, and must not be used for actors.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, TypeAlias

from atoll.state.envelope import Envelope
from atoll.state.kind import Kind
from atoll.state.stamp import Stamp
from atoll.state.types.awset import Dots
from atoll.state.types.counter import Tally
from atoll.state.vector import NOTHING, Actor, Dot, Vector

REGISTER_FIELD: Final = ""
"""The field of a register's only cell."""


# --- Opening


@dataclass(frozen=True, slots=True)
class Opened:
    """The begin of an epoch."""

    actor: Actor
    previous: Dot | None
    """The last operation of the store's last epoch, as far as the store still has it; None if there was none."""
    fresh: bool
    """The store was empty: a first start, or a lost disk. It is incomplete until `Store.complete`."""


# --- Writing


@dataclass(frozen=True, slots=True)
class CellChange:
    """Sets or removes the value of a register (`field` empty) or of a map's field."""

    field: str
    payload: bytes | None
    """None removes it."""
    expiry_ms: int = 0
    """In Unix milliseconds; 0: never."""


@dataclass(frozen=True, slots=True)
class CounterChange:
    """Adds `amount`, which may be negative."""

    amount: int


@dataclass(frozen=True, slots=True)
class SetChange:
    """Puts an element in, or takes it out."""

    element: str
    present: bool


Change: TypeAlias = CellChange | CounterChange | SetChange


@dataclass(frozen=True, slots=True)
class WriteResult:
    """A write that is merged here, in the log, and on disk."""

    dot: Dot
    stamp: Stamp
    existed: tuple[bool, ...] = ()
    """For each change of a register, a map or a set: whether a value (not expired) or the element was there."""
    total: int | None = None
    """For a counter: its value after this write, as known here."""


# --- The log, and applying what other regions wrote


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One operation of this region."""

    dot: Dot
    namespace: str
    """Empty for entries that every region gets: heartbeats and begins of epochs."""
    operation: bytes
    """See `atoll.state.operation`."""


@dataclass(frozen=True, slots=True)
class LogSlice:
    """What follows a cursor in this region's log."""

    entries: tuple[LogEntry, ...]
    """Dense and in order; of several epochs where one ends. Empty if nothing came in time, or if `gap`."""
    gap: bool = False
    """The log no longer has what follows the cursor: entries are cut off. Only a transfer helps."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Operations of one actor for another region's store: all of ``after < seq <= through`` that it may hold."""

    actor: Actor
    after: int
    through: int
    entries: tuple[tuple[int, bytes], ...]
    """Numbers and operations, ascending. What residency keeps away is left out, and is covered by the range."""


class ApplyOutcome(StrEnum):
    """Why `Store.apply` went as far as it did."""

    OK = "ok"
    """All of the batch is applied."""
    STALE = "stale"
    """All of it was applied before; nothing changed."""
    GAP = "gap"
    """The batch begins beyond what is known here; nothing changed."""
    FUTURE = "future"
    """The next operation's stamp is too far ahead of this store's clock: send it again after `delay_ms`."""
    WAIT = "wait"
    """The next operation depends on `needs`, which is not known here yet."""
    UNREADABLE = "unreadable"
    """The next operation is of a version that this store doesn't know, or is damaged."""


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """How far `Store.apply` went."""

    outcome: ApplyOutcome
    seq: int
    """Up to where the actor is known here now, durably: the cursor, and the acknowledgement."""
    applied: int = 0
    """Operations merged by this call."""
    delay_ms: int = 0
    needs: Dot | None = None


@dataclass(frozen=True, slots=True)
class Clocks:
    """A store's two clocks. The stamps are ahead of the wall clock for as long as that was ahead and is right again."""

    wall_ms: int
    """Unix milliseconds."""
    stamp: Stamp
    """The largest one issued or taken in."""


@dataclass(frozen=True, slots=True)
class PeerState:
    """The last heartbeat of a region that this store has applied."""

    region: str
    actor: Actor
    vector: Vector
    """What the region's store knew when it wrote the heartbeat."""
    stamp: Stamp
    wall_ms: int
    """The region's wall clock then, in Unix milliseconds."""
    applied_ms: int
    """This store's wall clock when it applied it."""


@dataclass(frozen=True, slots=True)
class Ack:
    """A region has applied, durably, this store's own operations up to `seq`."""

    peer: str
    dot: Dot


@dataclass(frozen=True, slots=True)
class AckSlice:
    """Acknowledgements after a cursor."""

    cursor: str
    """To be given to the next read."""
    acks: tuple[Ack, ...]


# --- Transfer: comparing and merging whole namespaces


@dataclass(frozen=True, slots=True)
class BucketDigest:
    """Digests of one bucket of a namespace (`atoll.state.digest`). Empty buckets have zeros and are left out."""

    live: int = 0
    """Of what is there. Equal in all regions that know the same operations."""
    removed: int = 0
    """Of tombstones and of removals of additions that have not come yet. Regions that collect at different times
    differ in it. A transfer must look at such a bucket all the same, for it takes removals over too."""


@dataclass(frozen=True, slots=True)
class CellKey:
    """Where a cell is in its namespace."""

    kind: Kind
    key: str
    field: str
    """Field of a map, empty for a register; actor of a counter; element of a set."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell as the store keeps it: an envelope, a counter's tally, or a set element's dots.

    In a `Listing`, the envelope's payload is left out.
    """

    at: CellKey
    data: bytes


@dataclass(frozen=True, slots=True)
class Listing:
    """All cells of a bucket, tombstones included, in one atomic look."""

    vector: Vector
    """What the store knew at that moment. An entry that this covers and that is not listed was deleted."""
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What `Store.merge` did."""

    merged: int
    """Cells that changed."""
    delay_ms: int = 0
    """Not 0: a stamp is too far ahead of this store's clock. Nothing was merged; try again after this time."""


# --- Looking at it


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two writes of one cell, neither of whose writers knew the other's. Never a value."""

    namespace: str
    at: CellKey
    winner: Dot
    winner_stamp: Stamp
    loser: Dot
    loser_stamp: Stamp


@dataclass(frozen=True, slots=True)
class SessionWaits:
    """How often the region's replicas found less here than a session had seen."""

    waits: int = 0
    behind: int = 0
    """Of those, how many ended without it: as the namespace's `behind` says."""
    waited_ms: int = 0
    """All together."""

    def __add__(self, other: "SessionWaits") -> "SessionWaits":
        return SessionWaits(
            self.waits + other.waits, self.behind + other.behind, self.waited_ms + other.waited_ms
        )


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """A snapshot; counters since the store was first opened."""

    region: str
    actor: Actor
    """Empty if the store is closed."""
    complete: bool
    lost: bool
    """It was found empty though the region had an epoch before, and is not complete since."""
    refused: str
    """Why writes are refused, as the agent said; empty if they aren't."""
    vector: Vector
    log_entries: int
    log_bytes: int
    tombstones: int
    """Tombstones, and set elements with removals that wait, not collected yet."""
    expiries: int
    """Values written here that will expire."""
    written: int
    """Operations of this store's own, heartbeats included."""
    applied: int
    """Operations of other actors."""
    gaps: int
    futures: int
    waits: int
    merged: int
    """Cells that a transfer changed."""
    settled: int
    """Cells that a transfer deleted."""
    collected: int
    expired: int
    conflicts: Mapping[tuple[str, Kind], int]
    """By namespace and kind."""
    sessions: SessionWaits


class Store(Protocol):
    """One region's state store.

    Every method raises `StoreRefused` if the store refuses, and the client's connection errors if it can't be reached.
    """

    # Opening

    async def open(self, region: str, identity: str, *, floor: int = 0) -> Opened:
        """Begins an epoch: larger than the last one and than `floor`, and not below the wall clock in seconds.

        `identity` is the deployment's; a store that holds another's, or another region's, data refuses (`IDENTITY`).
        `floor` is the largest epoch of this region that anybody else knows, so that a store that lost its disk issues
        none twice; a store that is empty though it is not 0 counts as `lost`. Logs the begin of the epoch.
        """
        ...

    async def complete(self) -> None:
        """Says that this store has all that it should have: it is a founding member's, or has been transferred to."""
        ...

    async def refuse(self, reason: str) -> None:
        """Makes `write` refuse (`CLOCK`) from now on; an empty reason ends that."""
        ...

    # Writing

    async def write(
        self, namespace: str, kind: Kind, key: str, changes: Sequence[Change], deps: Vector = NOTHING
    ) -> WriteResult:
        """Merges the changes of one key, and logs them as one operation: one stamp, one dot.

        A register takes one change, with an empty field; a counter one. No field or element may come twice. An
        operation is logged even if it finds nothing to remove. `deps` is what must be known wherever it is applied.
        Raises `ValueError` for changes that don't fit `kind`.
        """
        ...

    async def heartbeat(self) -> Dot:
        """Logs what this store knows, and its wall clock."""
        ...

    async def expire(self, limit: int) -> int:
        """Removes at most `limit` expired values that this region wrote, by operations with the values' own stamps.

        Answers how many were removed.
        """
        ...

    # Reading: cells as they are, tombstones and expired values included

    async def read_register(self, namespace: str, key: str) -> Envelope | None: ...

    async def read_map(self, namespace: str, key: str) -> Mapping[str, Envelope]: ...

    async def read_field(self, namespace: str, key: str, field: str) -> Envelope | None: ...

    async def read_counter(self, namespace: str, key: str) -> Mapping[Actor, Tally]: ...

    async def read_set(self, namespace: str, key: str) -> Mapping[str, Dots]: ...

    async def read_element(self, namespace: str, key: str, element: str) -> Dots: ...

    async def vector(self) -> Vector:
        """What this store knows, its own operations included."""
        ...

    async def clock(self) -> Stamp:
        """The largest stamp issued or taken in."""
        ...

    async def clocks(self) -> Clocks:
        """What its wall clock shows now, and the largest stamp."""
        ...

    # Replication

    async def read_log(self, after: Dot | None, count: int, block_s: float = 0.0) -> LogSlice:
        """At most `count` entries after the receiver's cursor, waiting up to `block_s` for the first.

        `after` is how far the receiver knows this region's newest epoch that it knows at all (`Vector.latest`); None:
        it knows nothing of this region. If this store lost what the receiver already has, that is no gap.
        """
        ...

    async def apply(self, batch: Batch) -> ApplyResult:
        """Merges as much of a batch as can be, in order, and moves the cursor in the same step.

        The first operation of an epoch waits until the epoch before it is known as far as its region says.
        """
        ...

    async def peers(self) -> Mapping[str, PeerState]:
        """The last heartbeat of each other region, by region."""
        ...

    async def acked(self, peer: str, dot: Dot) -> None:
        """Notes that region `peer` has this store's operations up to `dot`, durably.

        One of an older epoch is passed over.
        """
        ...

    async def read_acks(self, after: str, block_s: float = 0.0) -> AckSlice:
        """Acknowledgements noted after a cursor; "" means from now on, so that the first answer is empty at once."""
        ...

    async def trim(self, before: Dot) -> int:
        """Cuts the entries before `before` (own region's) from the log; answers how many."""
        ...

    async def collect(self, stable: Vector, limit: int) -> int:
        """Drops at most `limit` tombstones whose dots `stable` covers, and removals of additions known since.

        `stable` is what every member region knows, by its own heartbeats as applied here (their meet, and this
        store's own vector). Must not be called while this store takes part in a transfer, on either side: the other
        side may still need the removals. Answers how many were dropped.
        """
        ...

    # Transfer

    async def namespaces(self) -> tuple[str, ...]:
        """All that have a cell here, sorted."""
        ...

    async def digests(self, namespace: str) -> Mapping[int, BucketDigest]:
        """By bucket, 0 to 255."""
        ...

    async def listing(self, namespace: str, bucket: int) -> Listing: ...

    async def cells(self, namespace: str, wanted: Sequence[CellKey]) -> tuple[Cell, ...]:
        """The cells as they are now; those that are gone are left out."""
        ...

    async def merge(self, namespace: str, cells: Sequence[Cell]) -> MergeResult:
        """Joins a peer's cells into this store's. What this store knows and has deleted doesn't come back."""
        ...

    async def settle(self, namespace: str, bucket: int, theirs: Listing) -> int:
        """Deletes what the peer's listing lacks although its vector covers it; answers how many cells that changed.

        (The rule of optimized OR-sets: Bieniusa et al., "An optimized conflict-free replicated set", 2012.)
        """
        ...

    async def raise_to(self, vector: Vector, stamp: Stamp) -> int:
        """Ends a transfer: this store now knows all that `vector` covers. Its own actor is left as it is.

        `stamp` is the peer's clock (`clock`), asked after its vector: what this store writes from now on is later than
        all that it took over, tombstones that were collected included. Answers 0, or for how many milliseconds the
        stamp is too far ahead: then nothing changed.
        """
        ...

    # Looking at it

    async def keys(self, namespace: str, kind: Kind, prefix: str, limit: int) -> tuple[str, ...]:
        """At most `limit` keys that have a cell, tombstones included, sorted; for operators."""
        ...

    async def conflicts(self, limit: int) -> tuple[Conflict, ...]:
        """The newest, newest first; about 1,000 are kept."""
        ...

    async def statistics(self) -> StoreStatistics: ...

    async def note_waits(self, waits: SessionWaits) -> None:
        """Adds to the counts of `statistics`."""
        ...
