"""The receiving end of a link: what of a peer's log goes into the own store next, and what the peer is told of it.

Nothing is acknowledged before the store has it on disk. An operation that can't be applied yet keeps its place: it is
tried again when what it waits for is there, or when its stamp is no longer ahead of this region's clock. It is never
dropped, which would let replicas differ, and never taken early, which would let a fast clock win for ever.
"""

from collections import deque
from dataclasses import dataclass, replace

from atoll.state.replication.messages import Acknowledge
from atoll.state.store import ApplyOutcome, ApplyResult, Batch
from atoll.state.vector import Dot

FUTURE_S = 1.0
"""An operation from the future is tried again after this at the latest: the own clock may be the wrong one, and be put
right meanwhile."""

UNREADABLE_S = 5.0
"""An operation that this program is too old to read is tried again after this; the store may have been updated."""

WAIT_S = 0.25
"""An operation that waits for another one is tried again after this at the latest; sooner when that one has come."""


class OutOfStep(Exception):
    """The batch doesn't follow what the store knows: the store has gone back. The peer must be subscribed to anew."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The batch can't go on now."""

    after_s: float
    needs: Dot | None = None
    """What it waits for; once that is known, it may be tried again at once."""


@dataclass(frozen=True, slots=True)
class ReceiverStatistics:
    """A snapshot; counters since this link was opened."""

    peer: str
    queued: int
    """Batches that are here and not applied."""
    batches: int
    applied: int
    """Operations."""
    futures: int
    waits: int
    unreadable: int
    """Tries of an operation whose version this store doesn't know."""
    needs: Dot | None
    """What the next operation waits for."""


class Receiver:
    """Batches of one peer in the order in which they came. No I/O."""

    __slots__ = ("_applied", "_batches", "_futures", "_needs", "_peer", "_queue", "_unreadable", "_waits")

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self._queue: deque[Batch] = deque()
        self._batches = 0
        self._applied = 0
        self._futures = 0
        self._waits = 0
        self._unreadable = 0
        self._needs: Dot | None = None

    def received(self, batch: Batch) -> None:
        """A batch has come."""
        self._queue.append(batch)

    def next(self) -> Batch | None:
        """What the store is to apply now; the same one until `applied` has finished it."""
        return self._queue[0] if self._queue else None

    def applied(self, result: ApplyResult) -> Acknowledge | Retry:
        """What the store said of `next()`: the peer is told of it, or it is tried again. Raises `OutOfStep`."""
        batch = self._queue[0]
        self._applied += result.applied
        self._needs = None
        match result.outcome:
            case ApplyOutcome.OK | ApplyOutcome.STALE:
                self._queue.popleft()
                self._batches += 1
                return Acknowledge(Dot(batch.actor, result.seq), 1)
            case ApplyOutcome.GAP:
                raise OutOfStep(
                    f"{self._peer} sends {batch.actor} from {batch.after + 1} on, but the store knows {result.seq}"
                )
            case ApplyOutcome.FUTURE:
                self._futures += 1
                self._go_on_from(result.seq)
                return Retry(min(max(1, result.delay_ms) / 1000.0, FUTURE_S))
            case ApplyOutcome.WAIT:
                self._waits += 1
                self._needs = result.needs
                self._go_on_from(result.seq)
                return Retry(WAIT_S, result.needs)
            case ApplyOutcome.UNREADABLE:
                self._unreadable += 1
                self._go_on_from(result.seq)
                return Retry(UNREADABLE_S)

    def statistics(self) -> ReceiverStatistics:
        return ReceiverStatistics(
            peer=self._peer,
            queued=len(self._queue),
            batches=self._batches,
            applied=self._applied,
            futures=self._futures,
            waits=self._waits,
            unreadable=self._unreadable,
            needs=self._needs,
        )

    def _go_on_from(self, seq: int) -> None:
        """What is applied of the batch needs not be sent to the store again."""
        batch = self._queue[0]
        if seq > batch.after:
            rest = tuple(entry for entry in batch.entries if entry[0] > seq)
            self._queue[0] = replace(batch, after=seq, entries=rest)
