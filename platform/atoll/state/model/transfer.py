"""Comparing and merging whole namespaces (`library/transfer.lua`)."""

from collections.abc import Mapping, Sequence

from atoll.state import raw
from atoll.state.envelope import Envelope
from atoll.state.model.region import Region, command
from atoll.state.stamp import ZERO, Stamp, ahead_ms
from atoll.state.store import BucketDigest, Cell, CellKey, Listing, MergeResult
from atoll.state.types import awset, cell, counter
from atoll.state.types.awset import Dots
from atoll.state.types.counter import Tally
from atoll.state.vector import Vector


class Transferring(Region):
    """Brings states, where a log can bring no writes any more."""

    def namespaces(self) -> tuple[str, ...]:
        return self._state.cells.namespaces()

    def digests(self, namespace: str) -> Mapping[int, BucketDigest]:
        return self._state.cells.digests(namespace)

    def listing(self, namespace: str, bucket: int) -> Listing:
        return Listing(
            self._state.vector,
            tuple(Cell(at, raw.header(value)) for at, value in self._state.cells.bucket(namespace, bucket)),
        )

    def cells(self, namespace: str, wanted: Sequence[CellKey]) -> tuple[Cell, ...]:
        found = ((at, self._state.cells.get(namespace, at)) for at in wanted)
        return tuple(Cell(at, raw.encode(value)) for at, value in found if value is not None)

    @command
    def merge(self, namespace: str, cells: Sequence[Cell]) -> MergeResult:
        self._must_be_open()
        state = self._state
        coming = [(one.at, raw.decode(one.at.kind, one.data)) for one in cells]
        newest = max((value.stamp for _, value in coming if isinstance(value, Envelope)), default=ZERO)
        if delay_ms := ahead_ms(newest, self._now_ms):
            return MergeResult(0, delay_ms)
        state.stamp = max(state.stamp, newest)
        merged = 0
        for at, theirs in coming:
            ours = state.cells.get(namespace, at)
            joined: Envelope | Tally | Dots | None = ours
            match theirs:
                case Envelope():
                    joined = self._join_envelope(ours, theirs)
                case Tally():
                    joined = counter.join(ours if isinstance(ours, Tally) else Tally(), theirs)
                case Dots():
                    joined = awset.merge(
                        ours if isinstance(ours, Dots) else awset.EMPTY, state.vector, theirs
                    )
            joined = joined or None  # an element without dots is none
            if joined != ours:
                self._put(namespace, at, joined)
                merged += 1
        state.counts["merged"] += merged
        return MergeResult(merged)

    def _join_envelope(self, ours: object, theirs: Envelope) -> Envelope | None:
        """What this store knows and doesn't have was deleted here, and its tombstone collected."""
        if isinstance(ours, Envelope):
            return cell.join(ours, theirs)
        return None if self._state.vector.covers(theirs.dot) else theirs

    @command
    def settle(self, namespace: str, bucket: int, theirs: Listing) -> int:
        self._must_be_open()
        listed = {one.at: raw.decode(one.at.kind, one.data) for one in theirs.cells}
        settled = 0
        for at, ours in tuple(self._state.cells.bucket(namespace, bucket)):
            cell_there = listed.get(at)
            match ours:
                # A tombstone stays until this store finds by itself that nothing older can come here.
                case Envelope() if cell_there is None:
                    if not ours.removed and theirs.vector.covers(ours.dot):
                        self._put(namespace, at, None)
                        settled += 1
                case Dots():
                    there = cell_there if isinstance(cell_there, Dots) else awset.EMPTY
                    kept = awset.settle(ours, there, theirs.vector)
                    if kept != ours:
                        self._put(namespace, at, kept)
                        settled += 1
                case _:
                    pass
        self._state.counts["settled"] += settled
        return settled

    @command
    def raise_to(self, vector: Vector, stamp: Stamp) -> int:
        self._must_be_open()
        state = self._state
        if delay_ms := ahead_ms(stamp, self._now_ms):
            return delay_ms
        state.stamp = max(state.stamp, stamp)
        for actor, seq in vector.items():
            if actor != state.actor:
                self._know(actor, seq)
        return 0
