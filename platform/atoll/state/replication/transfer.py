"""Taking over what a peer knows: bootstrap, gap, lost tail and anti-entropy are one procedure.

1. V0 = the peer's vector. From now on the peer keeps its removals.
2. Streams that still move catch up with V0 for a moment; those that don't are held, so that nothing which V0 covers
   comes by a stream while we compare.
3. Of the namespaces that both hold: compare digests, list the buckets that differ, fetch the cells that are newer
   there, merge them; then delete what the peer knew and no longer has. Five round trips for a small state.
4. The peer confirms that it kept its removals all the time. Only then may the own vector be raised to V0 (`coverage`).
   A crash before leaves a vector that claims nothing it has not.

Why streams are held: the peer may have collected a tombstone that V0 covers. An older value of that cell, which V0 also
covers, would come alive if it were applied between the comparison and the raise. Nothing beyond V0 can be older than a
tombstone that was collected before (see `stability`).

What the peer may not hold it does not bring: what may be claimed after several transfers is told by `coverage`.

(The deletion rule: Bieniusa et al., "An optimized conflict-free replicated set", 2012. Comparing digests first: Demers
et al., "Epidemic algorithms for replicated database maintenance", 1987.)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from atoll.clock import Clock
from atoll.state import raw
from atoll.state.compare import newer
from atoll.state.envelope import Envelope
from atoll.state.replication.messages import (
    AskCells,
    AskDigests,
    AskListings,
    Begin,
    Begun,
    Cells,
    Digests,
    End,
    Ended,
    Listings,
)
from atoll.state.replication.settings import ReplicationSettings
from atoll.state.replication.steps import CatchUp, Hold, Steps, ask, ask_all, own
from atoll.state.stamp import Stamp, ahead_ms, wall_ms
from atoll.state.store import BucketDigest, Cell, CellKey, Listing, Store
from atoll.state.types import awset
from atoll.state.types.awset import Dots
from atoll.state.vector import Vector

LISTED = 64
"""Buckets that are asked for at once; the peer answers as many as fit in a message."""

FETCHED = 500
"""Cells that are asked for, and merged, at once."""

_EMPTY = BucketDigest()


class TransferError(Exception):
    """The transfer can't go on, and must be begun anew."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a transfer brought."""

    vector: Vector
    """What the peer knew when it began: of what it may hold, all that is here now."""
    stamp: Stamp
    """The peer's clock then."""
    complete: bool
    """The peer has all that it should have."""
    buckets: int
    """That differed."""
    merged: int
    settled: int


class Transfer:
    """One transfer from one peer; `steps` is the procedure."""

    def __init__(
        self,
        region: str,
        membership: str,
        namespaces: Sequence[str],
        brought: Callable[[str], Vector],
        settings: ReplicationSettings,
        clock: Clock,
    ) -> None:
        """`membership` is its digest; `namespaces` are those that both sides may hold; `brought`
        says of a namespace what transfers have brought that is not claimed yet (`Coverage.brought`).
        """
        self._region = region
        self._membership = membership
        self._namespaces = namespaces
        self._brought = brought
        self._settings = settings
        self._clock = clock
        self._buckets = 0
        self._merged = 0
        self._settled = 0

    def steps(self) -> Steps[Taken]:
        """The procedure. It doesn't touch the own vector. Raises what its steps raise, and `TransferError`."""
        begun = yield from ask(Begin(self._region, self._membership), Begun)
        if delay_ms := ahead_ms(begun.stamp, wall_ms(self._clock)):
            raise TransferError(
                f"the peer's stamps are ahead of this region's clock by {delay_ms} ms too much"
            )
        yield CatchUp(begun.vector, self._settings.patience_s)
        yield Hold(begun.vector)
        left = yield from self._differing()
        while left:
            left = yield from self._round(left)
        yield from ask(End(self._region), Ended)
        return Taken(begun.vector, begun.stamp, begun.complete, self._buckets, self._merged, self._settled)

    def _differing(self) -> Steps[dict[str, list[int]]]:
        """The buckets to look at, by namespace."""
        digests = (yield from ask(AskDigests(tuple(self._namespaces)), Digests)).digests
        left = {}
        for namespace in self._namespaces:
            theirs = digests.get(namespace, {})
            ours = yield from own(partial(_digests, namespace=namespace))
            buckets = sorted(
                bucket
                for bucket in theirs.keys() | ours.keys()
                if theirs.get(bucket, _EMPTY) != ours.get(bucket, _EMPTY)
            )
            if buckets:
                left[namespace] = buckets
                self._buckets += len(buckets)
        return left

    def _round(self, left: dict[str, list[int]]) -> Steps[dict[str, list[int]]]:
        """Takes over some buckets of each namespace; returns those that are left."""
        asked = [AskListings(namespace, tuple(buckets[:LISTED])) for namespace, buckets in left.items()]
        answers = yield from ask_all(asked, Listings)
        listed = {namespace: answer.listings for namespace, answer in zip(left, answers, strict=True)}
        missing: list[AskCells] = []
        here: dict[str, dict[CellKey, bytes]] = {}
        for namespace, listings in listed.items():
            keys: list[CellKey] = []
            brought = self._brought(namespace)
            cells_here = here[namespace] = {}
            for bucket, theirs in sorted(listings.items()):
                ours = yield from own(partial(_listing, namespace=namespace, bucket=bucket))
                cells_here.update((cell.at, cell.data) for cell in ours.cells)
                keys += newer(Listing(ours.vector.join(brought), ours.cells), theirs)
            missing += [AskCells(namespace, wanted) for wanted in _chunks(keys)]
        cells = yield from ask_all(missing, Cells)
        for question, answer in zip(missing, cells, strict=True):
            namespace = question.namespace
            coming = _unknown(answer.cells, here[namespace], self._brought(namespace))
            yield from self._merge(namespace, tuple(coming))
        for namespace, listings in listed.items():
            for bucket, theirs in sorted(listings.items()):
                settle = partial(_settle, namespace=namespace, bucket=bucket, theirs=theirs)
                self._settled += yield from own(settle)
            if left[namespace][0] not in listings:
                raise TransferError(f"the peer did not list bucket {left[namespace][0]} of {namespace}")
        rest = {
            namespace: [bucket for bucket in buckets if bucket not in listed[namespace]]
            for namespace, buckets in left.items()
        }
        return {namespace: buckets for namespace, buckets in rest.items() if buckets}

    def _merge(self, namespace: str, cells: Sequence[Cell]) -> Steps[None]:
        result = yield from own(lambda store: store.merge(namespace, cells))
        if result.delay_ms:
            raise TransferError(
                f"a cell's stamp is ahead of this region's clock by {result.delay_ms} ms too much"
            )
        self._merged += result.merged


async def _digests(store: Store, namespace: str) -> Mapping[int, BucketDigest]:
    return await store.digests(namespace)


async def _listing(store: Store, namespace: str, bucket: int) -> Listing:
    return await store.listing(namespace, bucket)


async def _settle(store: Store, namespace: str, bucket: int, theirs: Listing) -> int:
    return await store.settle(namespace, bucket, theirs)


def _unknown(cells: Sequence[Cell], here: Mapping[CellKey, bytes], brought: Vector) -> Iterator[Cell]:
    """What of a peer's cells is news. The store passes over what its vector covers and it has deleted; this does the
    same for what transfers have brought and the store's vector doesn't cover yet.
    """
    for cell in cells:
        theirs = raw.decode(cell.at.kind, cell.data)
        ours = here.get(cell.at)
        match theirs:
            case Envelope():
                if ours is not None or not brought.covers(theirs.dot):
                    yield cell
            case Dots():
                kept = Dots() if ours is None else awset.decode(ours)
                live = frozenset(dot for dot in theirs.live if dot in kept.live or not brought.covers(dot))
                yield Cell(cell.at, awset.encode(Dots(live, theirs.removed)))
            case _:
                yield cell


def _chunks(wanted: Sequence[CellKey]) -> Iterator[tuple[CellKey, ...]]:
    left = iter(wanted)
    while chunk := tuple(islice(left, FETCHED)):
        yield chunk
