"""All that was written in a run, who acknowledged it, and what disks lost of it: what invariants are checked against.

The simulator writes it where the store executes a command, so it also knows writes whose client got no answer.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from atoll.state.envelope import CellOrder
from atoll.state.kind import Kind
from atoll.state.store import CellChange, Change, CounterChange, SetChange, WriteResult
from atoll.state.vector import NOTHING, Dot, Vector, region_of

Place: TypeAlias = tuple[str, Kind, str, str]
"""Namespace, kind, key, and field or element; of a counter the key alone."""


@dataclass(slots=True)
class Written:
    """What one write did to one cell."""

    region: str
    place: Place
    dot: Dot
    order: CellOrder
    change: Change
    at_s: float
    observed: frozenset[Dot] = frozenset()
    """Additions that a change of a set took away."""
    deps: Vector = NOTHING
    """What must be known wherever it is."""
    acknowledged_s: float | None = None
    """When the client had its answer."""
    remote: bool = False
    """The client was told that it is also in another region."""
    copies: dict[str, float] = field(default_factory=dict)
    """Regions that were noted to have it, durably, and since when."""
    lost_here: bool = False
    """A disk fault took it from the region in which it was written."""

    @property
    def removes(self) -> bool:
        return isinstance(self.change, CellChange) and self.change.payload is None

    def gone(self, now_ms: float) -> bool:
        """Whether a reader sees nothing of it: a removal, or an expired value."""
        assert isinstance(self.change, CellChange)
        return self.change.payload is None or 0 < self.change.expiry_ms <= now_ms


@dataclass(frozen=True, slots=True)
class Disorder:
    """A write whose stamp is not later than that of one that its store knew."""

    written: Written
    known: Written


class Ledger:
    """Every write of a run."""

    def __init__(self) -> None:
        self.by_place: dict[Place, list[Written]] = defaultdict(list)
        self.by_dot: dict[Dot, list[Written]] = defaultdict(list)
        self.by_region: dict[str, list[Written]] = defaultdict(list)
        self.disorders: list[Disorder] = []
        self.reissued: list[Dot] = []
        """Dots that stand for two different writes."""
        self.disk_faults: dict[str, list[float]] = defaultdict(list)
        self.fenced: set[str] = set()
        """Regions that somebody fenced: what they wrote meanwhile may be older than removals that were collected."""
        self.removed: dict[str, float] = {}
        """Regions that were members, and until when."""

    def wrote(
        self,
        region: str,
        namespace: str,
        kind: Kind,
        key: str,
        change: Change,
        result: WriteResult,
        known: Vector,
        observed: frozenset[Dot],
        at_s: float,
        deps: Vector = NOTHING,
    ) -> Written:
        """A store has executed a write; `known` is its vector before."""
        place = (namespace, kind, key, _field(change))
        removed = isinstance(change, CellChange) and change.payload is None
        order = CellOrder(result.stamp, result.dot.actor, removed, result.dot.seq)
        written = Written(region, place, result.dot, order, change, at_s, observed, deps)
        if isinstance(change, CellChange):
            for earlier in self.by_place[place]:
                if known.covers(earlier.dot) and earlier.order >= order:
                    self.disorders.append(Disorder(written, earlier))
                    break
        if any(one.at_s != at_s for one in self.by_dot[result.dot]):
            self.reissued.append(result.dot)
        self.by_place[place].append(written)
        self.by_dot[result.dot].append(written)
        self.by_region[region].append(written)
        return written

    def copied(self, region: str, peer: str, dot: Dot, at_s: float) -> None:
        """The store of `region` notes that `peer` has its operations up to `dot`."""
        for written in reversed(self.by_region[region]):
            if written.dot.actor == dot.actor and written.dot.seq <= dot.seq:
                if peer in written.copies:
                    break
                written.copies[peer] = at_s

    def disk_lost(self, region: str, left: Vector, at_s: float) -> None:
        """A disk fault: the region's store knows no more than `left`."""
        self.disk_faults[region].append(at_s)
        for written in self.by_region[region]:
            if not left.covers(written.dot):
                written.lost_here = True

    def must_survive(self, written: Written) -> bool:
        """Whether what was promised for it still binds: the region has its disk, or one that has a copy has.

        `region` survives any crash but no loss of the disk; `remote` the loss of any one disk.
        """
        if written.acknowledged_s is None:
            return False
        if written.region not in self.removed and not written.lost_here:
            return True
        return written.remote and any(
            peer not in self.removed and not any(fault > since for fault in self.disk_faults[peer])
            for peer, since in written.copies.items()
        )

    def all(self) -> Iterator[Written]:
        for written in self.by_region.values():
            yield from written

    def amounts(self, namespace: str, key: str) -> dict[str, list[tuple[int, int]]]:
        """Increments of a counter: by actor, number and amount, in order."""
        found: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for written in self.by_place[namespace, Kind.COUNTER, key, ""]:
            assert isinstance(written.change, CounterChange)
            found[written.dot.actor].append((written.dot.seq, written.change.amount))
        return found


def _field(change: Change) -> str:
    match change:
        case CellChange(field=name):
            return name
        case SetChange(element=element):
            return element
        case CounterChange():
            return ""


def origin(written: Written) -> str:
    return region_of(written.dot.actor)
