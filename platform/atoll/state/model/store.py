"""`ModelStore`: what the store's functions do, step by step."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Concatenate, Final, ParamSpec, TypeVar

from atoll.clock import Clock
from atoll.state import raw
from atoll.state.envelope import Envelope
from atoll.state.errors import Refusal, StoreRefused
from atoll.state.kind import Kind
from atoll.state.model.cells import Cells, Place
from atoll.state.model.history import History
from atoll.state.model.log import Log
from atoll.state.operation import (
    Begin,
    CellWrite,
    CellWrites,
    ElementWrite,
    ElementWrites,
    Heartbeat,
    Operation,
    Totals,
    UnreadableOperation,
    Write,
    decode,
    encode,
)
from atoll.state.stamp import ZERO, Stamp, ahead_ms, successor, wall_ms
from atoll.state.store import (
    REGISTER_FIELD,
    Ack,
    AckSlice,
    ApplyOutcome,
    ApplyResult,
    Batch,
    BucketDigest,
    Cell,
    CellChange,
    CellKey,
    Change,
    Conflict,
    CounterChange,
    Listing,
    LogEntry,
    LogSlice,
    MergeResult,
    Opened,
    PeerState,
    SetChange,
    StoreStatistics,
    WriteResult,
)
from atoll.state.types import awset, cell, counter
from atoll.state.types.awset import Dots
from atoll.state.types.counter import Tally
from atoll.state.vector import FIRST_EPOCH, NOTHING, Actor, Dot, Vector, actor_of, epoch_of, region_of

KEPT: Final = 1000
"""How many conflicts and acknowledgements are kept."""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True)
class _State:
    """All that is on the store's disk."""

    region: str = ""
    identity: str = ""
    actor: Actor = ""
    seq: int = 0
    stamp: Stamp = ZERO
    complete: bool = False
    lost: bool = False
    refused: str = ""
    vector: Vector = NOTHING
    peers: dict[str, PeerState] = field(default_factory=dict)
    cells: Cells = field(default_factory=Cells)
    log: Log = field(default_factory=Log)
    acks: deque[tuple[int, Ack]] = field(default_factory=lambda: deque(maxlen=KEPT))
    acked: int = 0
    """Acknowledgements noted ever."""
    conflicts: deque[Conflict] = field(default_factory=lambda: deque(maxlen=KEPT))
    conflicting: Counter[tuple[str, Kind]] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def copy(self) -> "_State":
        return _State(
            self.region,
            self.identity,
            self.actor,
            self.seq,
            self.stamp,
            self.complete,
            self.lost,
            self.refused,
            self.vector,
            dict(self.peers),
            self.cells.copy(),
            self.log.copy(),
            self.acks.copy(),
            self.acked,
            self.conflicts.copy(),
            self.conflicting.copy(),
            self.counts.copy(),
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of a store's disk; only `ModelStore.restore` looks into it."""

    state: _State


def _command(
    method: "Callable[Concatenate[ModelStore, P], R]",
) -> "Callable[Concatenate[ModelStore, P], R]":
    """A method that changes the disk: it looks at the clock once, and can be undone by `ModelStore.lose_tail`.

    Methods refuse before they change anything, so one that raises has changed nothing.
    """

    @wraps(method)
    def run(self: "ModelStore", /, *args: P.args, **kwargs: P.kwargs) -> R:
        self._now_ms = wall_ms(self._clock)
        self._history.before(self._state)
        result = method(self, *args, **kwargs)
        self._history.after(self._now_ms, lambda: method(self, *args, **kwargs))
        return result

    return run


class ModelStore:
    """One region's store. The methods are those of `atoll.state.store.Store`, whose docstrings hold; none blocks.

    `history`: how many commands `lose_tail` can take back at most.
    """

    def __init__(self, clock: Clock, *, history: int = 0) -> None:
        self._clock = clock
        self._now_ms = 0
        self._state = _State()
        self._open = False
        """Whether it was opened since its server started."""
        self._history: History[_State] = History(history, _State.copy)

    # --- Opening

    @_command
    def open(self, region: str, identity: str, *, floor: int = 0) -> Opened:
        state = self._state
        fresh = not state.identity
        if not fresh and (state.region, state.identity) != (region, identity):
            raise StoreRefused(
                Refusal.IDENTITY,
                f"its data belong to region {state.region} of deployment {state.identity}, not to region {region} "
                f"of deployment {identity}; give it a store of its own, or wipe this one",
            )
        stored = epoch_of(state.actor) if state.actor else 0
        epoch = max(stored + 1, floor + 1, self._now_ms // 1000, FIRST_EPOCH)
        previous = Dot(state.actor, state.seq) if state.actor else None
        state.region, state.identity = region, identity
        state.actor, state.seq = actor_of(region, epoch), 0
        state.lost = state.lost or (fresh and floor > 0)
        self._open = True
        self._append("", Begin(self._tick(), previous))
        return Opened(state.actor, previous, fresh)

    @_command
    def complete(self) -> None:
        self._state.complete, self._state.lost = True, False

    @_command
    def refuse(self, reason: str) -> None:
        self._state.refused = reason

    # --- Writing

    @_command
    def write(
        self, namespace: str, kind: Kind, key: str, changes: Sequence[Change], deps: Vector = NOTHING
    ) -> WriteResult:
        self._may_write()
        seq = self._state.seq + 1
        match kind:
            case Kind.REGISTER | Kind.MAP:
                cells = _expect(CellChange, changes, kind)
                return self._write_cells(namespace, kind, key, cells, deps)
            case Kind.COUNTER:
                (change,) = _expect(CounterChange, changes, kind)
                return self._write_counter(namespace, key, change.amount, seq, deps)
            case Kind.SET:
                elements = _expect(SetChange, changes, kind)
                return self._write_set(namespace, key, elements, deps)

    def _write_cells(
        self, namespace: str, kind: Kind, key: str, changes: Sequence[CellChange], deps: Vector
    ) -> WriteResult:
        stamp = self._tick()
        existed = []
        writes = []
        for change in changes:
            old = self._envelope(namespace, CellKey(kind, key, change.field))
            existed.append(old is not None and old.visible(self._now_ms) is not None)
            writes.append(
                CellWrite(
                    change.field, change.payload, change.expiry_ms, old.dot if old is not None else None
                )
            )
        dot = self._log_write(stamp, namespace, kind, key, tuple(writes), deps)
        return WriteResult(dot, stamp, existed=tuple(existed))

    def _write_counter(self, namespace: str, key: str, amount: int, seq: int, deps: Vector) -> WriteResult:
        tally = self._tally(namespace, CellKey(Kind.COUNTER, key, self._state.actor))
        try:
            tally = (tally or Tally()).added(amount, seq)
        except OverflowError as error:
            raise StoreRefused(Refusal.RANGE, str(error)) from None
        stamp = self._tick()
        dot = self._log_write(stamp, namespace, Kind.COUNTER, key, Totals(tally.plus, tally.minus), deps)
        return WriteResult(dot, stamp, total=counter.total(self.read_counter(namespace, key).values()))

    def _write_set(self, namespace: str, key: str, changes: Sequence[SetChange], deps: Vector) -> WriteResult:
        stamp = self._tick()
        writes = []
        for change in changes:
            live = self.read_element(namespace, key, change.element).live
            writes.append(ElementWrite(change.element, change.present, tuple(sorted(live))))
        dot = self._log_write(stamp, namespace, Kind.SET, key, tuple(writes), deps)
        return WriteResult(dot, stamp, existed=tuple(bool(write.removed) for write in writes))

    @_command
    def heartbeat(self) -> Dot:
        self._must_be_open()
        state = self._state
        vector = state.vector.raised(state.actor, state.seq + 1)
        return self._append("", Heartbeat(self._tick(), vector, self._now_ms))

    @_command
    def expire(self, limit: int) -> int:
        self._may_write()
        expiries = self._state.cells.expiries
        due = sorted(
            ((expiry, place) for place, expiry in expiries.items() if expiry <= self._now_ms),
            key=lambda one: one[0],
        )
        by_key: dict[tuple[str, Kind, str], list[CellWrite]] = {}
        for _, (namespace, at) in due[:limit]:
            value = self._envelope(namespace, at)
            assert value is not None
            purge = CellWrite(at.field, None, replaced=value.dot, stamp=value.stamp)
            by_key.setdefault((namespace, at.kind, at.key), []).append(purge)
        for (namespace, kind, key), purges in by_key.items():
            self._log_write(self._tick(), namespace, kind, key, tuple(purges), NOTHING)
        removed = min(len(due), limit)
        self._state.counts["expired"] += removed
        return removed

    # --- Reading

    def read_register(self, namespace: str, key: str) -> Envelope | None:
        return self._envelope(namespace, CellKey(Kind.REGISTER, key, REGISTER_FIELD))

    def read_map(self, namespace: str, key: str) -> Mapping[str, Envelope]:
        cells = self._state.cells.fields(namespace, Kind.MAP, key)
        return {name: value for name, value in cells.items() if isinstance(value, Envelope)}

    def read_field(self, namespace: str, key: str, field: str) -> Envelope | None:
        return self._envelope(namespace, CellKey(Kind.MAP, key, field))

    def read_counter(self, namespace: str, key: str) -> Mapping[Actor, Tally]:
        cells = self._state.cells.fields(namespace, Kind.COUNTER, key)
        return {actor: value for actor, value in cells.items() if isinstance(value, Tally)}

    def read_set(self, namespace: str, key: str) -> Mapping[str, Dots]:
        cells = self._state.cells.fields(namespace, Kind.SET, key)
        return {element: value for element, value in cells.items() if isinstance(value, Dots)}

    def read_element(self, namespace: str, key: str, element: str) -> Dots:
        return self._dots(namespace, CellKey(Kind.SET, key, element))

    def vector(self) -> Vector:
        return self._state.vector

    def clock(self) -> Stamp:
        return self._state.stamp

    # --- Replication

    def read_log(self, after: Dot | None, count: int) -> LogSlice:
        state = self._state
        return state.log.read(after, count, Dot(state.actor, state.seq) if state.actor else None)

    @_command
    def apply(self, batch: Batch) -> ApplyResult:
        self._must_be_open()
        state = self._state
        actor = batch.actor
        known = state.vector.seq(actor)
        if batch.through <= known:
            return ApplyResult(ApplyOutcome.STALE, known)
        if actor == state.actor:
            raise StoreRefused(
                Refusal.TWIN,
                f"operation {batch.through} of its own actor {actor} came, but it wrote only {known}; "
                f"find and stop the other store that runs as region {state.region}",
            )
        if batch.after > known:
            state.counts["gaps"] += 1
            return ApplyResult(ApplyOutcome.GAP, known)
        applied = 0
        stopped = None
        for seq, data in batch.entries:
            if seq <= known:
                continue
            stopped = self._apply(Dot(actor, seq), data)
            if stopped is not None:
                break
            applied += 1
            self._know(actor, seq)
        if stopped is None:
            self._know(actor, batch.through)
        state.counts["applied"] += applied
        reached = state.vector.seq(actor)
        if stopped is None:
            return ApplyResult(ApplyOutcome.OK, reached, applied)
        return ApplyResult(stopped.outcome, reached, applied, stopped.delay_ms, stopped.needs)

    def _apply(self, dot: Dot, data: bytes) -> ApplyResult | None:
        """Applies one operation of another actor; answers why it can't be, or None."""
        state = self._state
        try:
            operation = decode(data)
        except UnreadableOperation:
            stopped = ApplyResult(ApplyOutcome.UNREADABLE, dot.seq - 1)
        else:
            if delay_ms := ahead_ms(operation.stamp, self._now_ms):
                state.counts["futures"] += 1
                stopped = ApplyResult(ApplyOutcome.FUTURE, dot.seq - 1, delay_ms=delay_ms)
            elif needs := self._unmet(operation):
                state.counts["waits"] += 1
                stopped = ApplyResult(ApplyOutcome.WAIT, dot.seq - 1, needs=needs)
            else:
                state.stamp = max(state.stamp, operation.stamp)
                self._take_in(dot, operation)
                return None
        # What lies between the last operation and this one is none that may be held here, and is known so.
        self._know(dot.actor, dot.seq - 1)
        return stopped

    def _unmet(self, operation: Operation) -> Dot | None:
        match operation:
            case Write():
                deps: Iterable[tuple[Actor, int]] = operation.deps.items()
            case Begin(previous=Dot() as previous):
                deps = (previous,)
            case _:
                deps = ()
        known = self._state.vector
        return min((dot for actor, seq in deps if not known.covers(dot := Dot(actor, seq))), default=None)

    def _take_in(self, dot: Dot, operation: Operation) -> None:
        match operation:
            case Write():
                self._merge_write(dot, operation)
            case Heartbeat():
                region = region_of(dot.actor)
                self._state.peers[region] = PeerState(
                    region, dot.actor, operation.vector, operation.stamp, operation.wall_ms, self._now_ms
                )
            case Begin():
                pass

    def peers(self) -> Mapping[str, PeerState]:
        return dict(self._state.peers)

    @_command
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

    @_command
    def trim(self, before: Dot) -> int:
        return self._state.log.trim(before)

    @_command
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

    # --- Transfer

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

    @_command
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

    @_command
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

    @_command
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

    # --- Looking at it

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
        )

    # --- What happens to stores

    def crash(self) -> None:
        """The server ends and comes back with all that it acknowledged; it has to be opened again."""
        self._open = False

    def lose_tail(self, commands: int) -> None:
        """A crash that loses the newest commands: a disk that lied. It has to be opened again.

        Raises `ValueError` if more are to be lost than the history keeps and there were.
        """

        def replay(state: _State, calls: Iterable[tuple[int, Callable[[], object]]]) -> None:
            self._state, self._open = state, True
            for now_ms, call in calls:
                self._now_ms = now_ms
                call()

        self._history.rewind(commands, replay)
        self._open = False

    def wipe(self) -> None:
        """The disk is lost. It has to be opened again."""
        self._state = _State()
        self._open = False
        self._history.clear()

    def snapshot(self) -> Snapshot:
        """A copy of the disk."""
        return Snapshot(self._state.copy())

    def restore(self, snapshot: Snapshot) -> None:
        """An old disk is put back. The store has to be opened again."""
        self._state = snapshot.state.copy()
        self._open = False
        self._history.clear()

    # --- Inside

    def _must_be_open(self) -> None:
        if not self._open:
            raise StoreRefused(
                Refusal.CLOSED,
                "it has not been opened since its server started; its agent opens it when it comes up",
            )

    def _may_write(self) -> None:
        self._must_be_open()
        if self._state.refused:
            raise StoreRefused(Refusal.CLOCK, f"writes are off: {self._state.refused}")

    def _tick(self) -> Stamp:
        self._state.stamp = successor(self._state.stamp, self._now_ms)
        return self._state.stamp

    def _know(self, actor: Actor, seq: int) -> None:
        self._state.vector = self._state.vector.raised(actor, seq)

    def _append(self, namespace: str, operation: Operation) -> Dot:
        """Gives an operation of this store's own its number, and logs it."""
        state = self._state
        state.seq += 1
        dot = Dot(state.actor, state.seq)
        state.log.entries.append(LogEntry(dot, namespace, encode(operation)))
        self._know(*dot)
        state.counts["written"] += 1
        return dot

    def _log_write(
        self,
        stamp: Stamp,
        namespace: str,
        kind: Kind,
        key: str,
        changes: CellWrites | Totals | ElementWrites,
        deps: Vector,
    ) -> Dot:
        state = self._state
        operation = Write(stamp, namespace, kind, key, changes, deps, self._now_ms)
        self._merge_write(Dot(state.actor, state.seq + 1), operation)
        return self._append(namespace, operation)

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

    def _put(self, namespace: str, at: CellKey, value: Envelope | Tally | Dots | None) -> None:
        here = isinstance(value, Envelope) and region_of(value.actor) == self._state.region
        self._state.cells.put(namespace, at, value, expires_here=here)

    def _envelope(self, namespace: str, at: CellKey) -> Envelope | None:
        value = self._state.cells.get(namespace, at)
        return value if isinstance(value, Envelope) else None

    def _tally(self, namespace: str, at: CellKey) -> Tally | None:
        value = self._state.cells.get(namespace, at)
        return value if isinstance(value, Tally) else None

    def _dots(self, namespace: str, at: CellKey) -> Dots:
        value = self._state.cells.get(namespace, at)
        return value if isinstance(value, Dots) else awset.EMPTY


C = TypeVar("C", CellChange, CounterChange, SetChange)


def _expect(kind_of_change: type[C], changes: Sequence[Change], kind: Kind) -> list[C]:
    """The changes as those of `kind`. Raises `ValueError` if they aren't."""
    fitting = [change for change in changes if isinstance(change, kind_of_change)]
    if len(fitting) != len(changes) or not fitting:
        raise ValueError(
            f"a {kind.name.lower()} takes {kind_of_change.__name__}, one or more, and nothing else"
        )
    names = [_name(change) for change in fitting]
    if len(set(names)) != len(names):
        raise ValueError(f"a {kind.name.lower()} takes each field or element once in a write")
    if kind is Kind.REGISTER and names != [REGISTER_FIELD]:
        raise ValueError("a register takes one change, whose field is empty")
    return fitting


def _name(change: Change) -> str:
    match change:
        case CellChange():
            return change.field
        case SetChange():
            return change.element
        case CounterChange():
            return ""
