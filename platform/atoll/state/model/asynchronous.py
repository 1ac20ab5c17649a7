"""The model behind the `Store` contract, for whoever awaits a store."""

import asyncio
from collections.abc import Mapping, Sequence

from atoll.state.envelope import Envelope
from atoll.state.kind import Kind
from atoll.state.model.store import ModelStore
from atoll.state.stamp import Stamp
from atoll.state.store import (
    AckSlice,
    ApplyResult,
    Batch,
    BucketDigest,
    Cell,
    CellKey,
    Change,
    Clocks,
    Conflict,
    Listing,
    LogSlice,
    MergeResult,
    Opened,
    PeerState,
    SessionWaits,
    StoreStatistics,
    WriteResult,
)
from atoll.state.types.awset import Dots
from atoll.state.types.counter import Tally
from atoll.state.vector import NOTHING, Actor, Dot, Vector


class AsyncModelStore:
    """A `Store` over a `ModelStore`, in this process. Only readers of the log and of acknowledgements ever wait.

    What others do to `model` directly wakes nobody; call `changed`.
    """

    __slots__ = ("_changed", "model")

    def __init__(self, model: ModelStore) -> None:
        self.model = model
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Wakes those who wait for the log or for acknowledgements."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def open(self, region: str, identity: str, *, floor: int = 0) -> Opened:
        opened = self.model.open(region, identity, floor=floor)
        self.changed()
        return opened

    async def complete(self) -> None:
        self.model.complete()

    async def refuse(self, reason: str) -> None:
        self.model.refuse(reason)

    async def write(
        self, namespace: str, kind: Kind, key: str, changes: Sequence[Change], deps: Vector = NOTHING
    ) -> WriteResult:
        result = self.model.write(namespace, kind, key, changes, deps)
        self.changed()
        return result

    async def heartbeat(self) -> Dot:
        dot = self.model.heartbeat()
        self.changed()
        return dot

    async def expire(self, limit: int) -> int:
        removed = self.model.expire(limit)
        self.changed()
        return removed

    async def read_register(self, namespace: str, key: str) -> Envelope | None:
        return self.model.read_register(namespace, key)

    async def read_map(self, namespace: str, key: str) -> Mapping[str, Envelope]:
        return self.model.read_map(namespace, key)

    async def read_field(self, namespace: str, key: str, field: str) -> Envelope | None:
        return self.model.read_field(namespace, key, field)

    async def read_counter(self, namespace: str, key: str) -> Mapping[Actor, Tally]:
        return self.model.read_counter(namespace, key)

    async def read_set(self, namespace: str, key: str) -> Mapping[str, Dots]:
        return self.model.read_set(namespace, key)

    async def read_element(self, namespace: str, key: str, element: str) -> Dots:
        return self.model.read_element(namespace, key, element)

    async def vector(self) -> Vector:
        return self.model.vector()

    async def clock(self) -> Stamp:
        return self.model.clock()

    async def clocks(self) -> Clocks:
        return self.model.clocks()

    async def read_log(self, after: Dot | None, count: int, block_s: float = 0.0) -> LogSlice:
        found = self.model.read_log(after, count)
        if found.entries or found.gap or not await self._change(block_s):
            return found
        return self.model.read_log(after, count)

    async def apply(self, batch: Batch) -> ApplyResult:
        return self.model.apply(batch)

    async def peers(self) -> Mapping[str, PeerState]:
        return self.model.peers()

    async def acked(self, peer: str, dot: Dot) -> None:
        self.model.acked(peer, dot)
        self.changed()

    async def read_acks(self, after: str, block_s: float = 0.0) -> AckSlice:
        found = self.model.read_acks(after)
        if found.acks or not after or not await self._change(block_s):
            return found
        return self.model.read_acks(after)

    async def trim(self, before: Dot) -> int:
        return self.model.trim(before)

    async def collect(self, stable: Vector, limit: int) -> int:
        return self.model.collect(stable, limit)

    async def namespaces(self) -> tuple[str, ...]:
        return self.model.namespaces()

    async def digests(self, namespace: str) -> Mapping[int, BucketDigest]:
        return self.model.digests(namespace)

    async def listing(self, namespace: str, bucket: int) -> Listing:
        return self.model.listing(namespace, bucket)

    async def cells(self, namespace: str, wanted: Sequence[CellKey]) -> tuple[Cell, ...]:
        return self.model.cells(namespace, wanted)

    async def merge(self, namespace: str, cells: Sequence[Cell]) -> MergeResult:
        return self.model.merge(namespace, cells)

    async def settle(self, namespace: str, bucket: int, theirs: Listing) -> int:
        return self.model.settle(namespace, bucket, theirs)

    async def raise_to(self, vector: Vector, stamp: Stamp) -> int:
        return self.model.raise_to(vector, stamp)

    async def keys(self, namespace: str, kind: Kind, prefix: str, limit: int) -> tuple[str, ...]:
        return self.model.keys(namespace, kind, prefix, limit)

    async def conflicts(self, limit: int) -> tuple[Conflict, ...]:
        return self.model.conflicts(limit)

    async def statistics(self) -> StoreStatistics:
        return self.model.statistics()

    async def note_waits(self, waits: SessionWaits) -> None:
        self.model.note_waits(waits)

    async def _change(self, within_s: float) -> bool:
        """Waits until something was logged or acknowledged; False if nothing was in time."""
        if within_s <= 0:
            return False
        try:
            async with asyncio.timeout(within_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True
