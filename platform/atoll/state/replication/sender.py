"""The sending end of a link: which part of the own log goes out next, to one peer.

The receiver owns the cursor; this is only a guess of it that runs ahead by the batches on their way. Credits bound
these (as in HTTP/2 and Reactive Streams), so a slow receiver slows the sender, and nothing piles up between them.
Operations are never decoded here: their namespace stands beside them.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from atoll.state.replication.messages import Acknowledge, Subscribe
from atoll.state.replication.settings import ReplicationSettings
from atoll.state.store import Batch, LogEntry, LogSlice
from atoll.state.vector import Dot


@dataclass(frozen=True, slots=True)
class SenderStatistics:
    """A snapshot; counters since this link was opened."""

    peer: str
    cursor: Dot | None
    """Up to here everything is on its way."""
    acknowledged: Dot | None
    in_flight: int
    """Batches that are not acknowledged."""
    batches: int
    entries: int
    withheld: int
    """Operations that the peer may not hold."""


class Sender:
    """What one peer still needs of this region's log, cut into batches. No I/O."""

    __slots__ = (
        "_acknowledged",
        "_allowed",
        "_batches",
        "_cursor",
        "_entries",
        "_in_flight",
        "_peer",
        "_region",
        "_settings",
        "_wanted",
        "_withheld",
        "disputed",
    )

    def __init__(
        self, region: str, subscribe: Subscribe, allowed: Collection[str], settings: ReplicationSettings
    ) -> None:
        """`allowed` are the namespaces that this side's topology lets the peer hold."""
        self._region = region
        self._peer = subscribe.region
        self._allowed = frozenset(allowed)
        self._wanted = frozenset(subscribe.holds)
        self._settings = settings
        self._cursor = subscribe.vector.latest(region)
        self._acknowledged = self._cursor
        self._in_flight = 0
        self._batches = 0
        self._entries = 0
        self._withheld = 0
        self.disputed: str | None = None
        """The namespace of the log's next operation, if one side says that the peer may hold it and the other that it
        may not: a topology is being taken up. The operation is neither sent (the stricter side counts) nor passed over
        (or the peer would count it as known and never get it): the link waits for another subscription."""

    @property
    def cursor(self) -> Dot | None:
        """Where to go on reading the log."""
        return self._cursor

    @property
    def ready(self) -> bool:
        """Whether the receiver takes another batch."""
        return self._in_flight < self._settings.credits

    @property
    def room(self) -> int:
        """Entries that may be read now: no more than the batches that may go out can carry."""
        return self._settings.batch_entries * (self._settings.credits - self._in_flight)

    def batches(self, read: LogSlice) -> Iterator[Batch]:
        """Cuts what was read after the cursor into batches, as long as there are credits, and moves the cursor."""
        group: list[LogEntry] = []
        size = 0
        for entry in read.entries:
            if (entry.namespace in self._allowed) != (entry.namespace in self._wanted):
                self.disputed = entry.namespace
                break
            if group and (
                group[0].dot.actor != entry.dot.actor
                or len(group) >= self._settings.batch_entries
                or size + len(entry.operation) > self._settings.batch_bytes
            ):
                yield self._batch(group)
                group, size = [], 0
                if not self.ready:
                    return
            group.append(entry)
            size += len(entry.operation)
        if group:
            yield self._batch(group)

    def acknowledged(self, message: Acknowledge) -> None:
        """The receiver has everything up to there."""
        self._acknowledged = message.dot
        self._in_flight = max(0, self._in_flight - message.credits)

    def statistics(self) -> SenderStatistics:
        return SenderStatistics(
            peer=self._peer,
            cursor=self._cursor,
            acknowledged=self._acknowledged,
            in_flight=self._in_flight,
            batches=self._batches,
            entries=self._entries,
            withheld=self._withheld,
        )

    def _batch(self, group: list[LogEntry]) -> Batch:
        first, last = group[0].dot, group[-1].dot
        sent = tuple(
            (entry.dot.seq, entry.operation)
            for entry in group
            if not entry.namespace or entry.namespace in self._allowed
        )
        self._cursor = last
        self._in_flight += 1
        self._batches += 1
        self._entries += len(sent)
        self._withheld += len(group) - len(sent)
        return Batch(first.actor, first.seq - 1, last.seq, sent)
