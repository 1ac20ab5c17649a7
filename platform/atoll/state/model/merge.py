"""Takes operations into the cells, and notes conflicts (`library/merge.lua`)."""

from atoll.state.envelope import Envelope
from atoll.state.model.region import Region
from atoll.state.operation import CellWrite, ElementWrite, Totals, Write
from atoll.state.store import CellKey, Conflict
from atoll.state.types import awset, cell, counter
from atoll.state.types.counter import Tally
from atoll.state.vector import Dot, region_of


class Merging(Region):
    """The same for this region's operations and for others'."""

    def _merge_write(self, dot: Dot, operation: Write) -> None:
        match operation.changes:
            case Totals(plus=plus, minus=minus):
                at = CellKey(operation.kind, operation.key, dot.actor)
                ours = self._tally(operation.namespace, at)
                self._put(operation.namespace, at, counter.join(ours or Tally(), Tally(plus, minus, dot.seq)))
            case changes:
                for change in changes:
                    if isinstance(change, CellWrite):
                        self._merge_cell(dot, operation, change)
                    else:
                        at = CellKey(operation.kind, operation.key, change.element)
                        self._merge_element(dot, operation.namespace, at, change)

    def _merge_cell(self, dot: Dot, operation: Write, change: CellWrite) -> None:
        namespace = operation.namespace
        at = CellKey(operation.kind, operation.key, change.field)
        stamp = change.stamp or operation.stamp
        theirs = Envelope(stamp, dot.actor, dot.seq, change.payload, change.expiry_ms)
        ours = self._envelope(namespace, at)
        winner = theirs if ours is None else cell.join(ours, theirs)
        if ours is not None and change.stamp is None:
            self._note_conflict(namespace, at, ours, theirs, winner, change.replaced)
        if winner is not ours:
            self._put(namespace, at, winner)

    def _merge_element(self, dot: Dot, namespace: str, at: CellKey, change: ElementWrite) -> None:
        ours = self._dots(namespace, at)
        added = dot if change.added else None
        self._put(namespace, at, awset.operate(ours, self._state.vector, added, change.removed))

    def _note_conflict(
        self,
        namespace: str,
        at: CellKey,
        ours: Envelope,
        theirs: Envelope,
        winner: Envelope,
        replaced: Dot | None,
    ) -> None:
        """Counts a merge whose winner's writer didn't know the loser, as far as this store can tell.

        It knew what it replaced, what its own actor wrote, and what the last heartbeat of its region that was applied
        here covers (for this region: what this store covers). So this is a count for people, not an exact one. A
        removal that meets a removal, and a purge of an expired value, are none.
        """
        loser = ours if winner is theirs else theirs
        if ours.removed and theirs.removed:
            return
        if winner is theirs and replaced == ours.dot:
            return
        if winner.actor == loser.actor or self._knew(region_of(winner.actor), loser.dot):
            return
        self._state.conflicting[namespace, at.kind] += 1
        self._state.conflicts.append(
            Conflict(namespace, at, winner.dot, winner.stamp, loser.dot, loser.stamp)
        )

    def _knew(self, region: str, dot: Dot) -> bool:
        if region == self._state.region:
            return self._state.vector.covers(dot)
        peer = self._state.peers.get(region)
        return peer is not None and peer.vector.covers(dot)
