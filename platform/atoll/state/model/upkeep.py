"""What the agent does beside writes and batches, and what it looks at (`library/upkeep.lua`)."""

from collections.abc import Mapping

from atoll.state.envelope import Envelope
from atoll.state.kind import Kind
from atoll.state.model.cells import Place
from atoll.state.model.region import Region, command
from atoll.state.operation import Heartbeat
from atoll.state.stamp import Stamp, wall_ms
from atoll.state.store import (
    Ack,
    AckSlice,
    Clocks,
    Conflict,
    LogSlice,
    PeerState,
    SessionWaits,
    StoreStatistics,
)
from atoll.state.types import awset
from atoll.state.types.awset import Dots
from atoll.state.vector import Dot, Vector


class Upkeep(Region):
    """Heartbeats, acknowledgements, the log's end, tombstones, figures."""

    @command
    def heartbeat(self) -> Dot:
        self._must_be_open()
        state = self._state
        vector = state.vector.raised(state.actor, state.seq + 1)
        return self._append("", Heartbeat(self._tick(), vector, self._now_ms))

    def peers(self) -> Mapping[str, PeerState]:
        return dict(self._state.peers)

    @command
    def acked(self, peer: str, dot: Dot) -> None:
        state = self._state
        if dot.actor == state.actor:
            state.acked += 1
            state.acks.append((state.acked, Ack(peer, dot)))

    def read_acks(self, after: str) -> AckSlice:
        newest = str(self._state.acked)
        if not after:
            return AckSlice(newest, ())
        return AckSlice(newest, tuple(ack for number, ack in self._state.acks if number > int(after)))

    def read_log(self, after: Dot | None, count: int) -> LogSlice:
        state = self._state
        return state.log.read(after, count, Dot(state.actor, state.seq) if state.actor else None)

    @command
    def trim(self, before: Dot) -> int:
        return self._state.log.trim(before)

    @command
    def collect(self, stable: Vector, limit: int) -> int:
        cells = self._state.cells
        due: list[tuple[Place, Dots | None]] = []
        for namespace, at in cells.graves:
            value = cells.get(namespace, at)
            if isinstance(value, Envelope):
                if stable.covers(value.dot):
                    due.append(((namespace, at), None))
            elif isinstance(value, Dots):
                left = awset.collect(value, self._state.vector)
                if left != value:
                    due.append(((namespace, at), left))
            if len(due) == limit:
                break
        for (namespace, at), rest in due:
            self._put(namespace, at, rest)
        self._state.counts["collected"] += len(due)
        return len(due)

    def vector(self) -> Vector:
        return self._state.vector

    def clock(self) -> Stamp:
        return self._state.stamp

    def clocks(self) -> Clocks:
        return Clocks(wall_ms(self._clock), self._state.stamp)

    def keys(self, namespace: str, kind: Kind, prefix: str, limit: int) -> tuple[str, ...]:
        found = (key for key in self._state.cells.keys(namespace, kind) if key.startswith(prefix))
        return tuple(sorted(found)[:limit])

    def conflicts(self, limit: int) -> tuple[Conflict, ...]:
        return tuple(reversed(self._state.conflicts))[:limit]

    def statistics(self) -> StoreStatistics:
        state, counts = self._state, self._state.counts
        return StoreStatistics(
            region=state.region,
            actor=state.actor if self._open else "",
            complete=state.complete,
            lost=state.lost,
            refused=state.refused,
            vector=state.vector,
            log_entries=len(state.log.entries),
            log_bytes=sum(len(entry.operation) for entry in state.log.entries),
            tombstones=len(state.cells.graves),
            expiries=len(state.cells.expiries),
            written=counts["written"],
            applied=counts["applied"],
            gaps=counts["gaps"],
            futures=counts["futures"],
            waits=counts["waits"],
            merged=counts["merged"],
            settled=counts["settled"],
            collected=counts["collected"],
            expired=counts["expired"],
            conflicts=dict(state.conflicting),
            sessions=state.sessions,
        )

    @command
    def note_waits(self, waits: SessionWaits) -> None:
        self._state.sessions += waits
