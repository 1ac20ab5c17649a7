"""`ValkeyStore`: a region's state store on a Valkey server, through the function library in `library/`."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Final, Self

import msgpack
from redis.asyncio import Redis

from atoll.state import envelope
from atoll.state.envelope import Envelope
from atoll.state.kind import Kind
from atoll.state.operation import Begin, decode
from atoll.state.stamp import Stamp
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
    Clocks,
    Conflict,
    CounterChange,
    Listing,
    LogEntry,
    LogSlice,
    MergeResult,
    Opened,
    PeerState,
    SessionWaits,
    SetChange,
    StoreStatistics,
    WriteResult,
)
from atoll.state.types import awset, counter
from atoll.state.types.awset import Dots
from atoll.state.types.counter import Tally
from atoll.state.valkey_calls import Argument, Calls, Reply
from atoll.state.vector import NOTHING, Actor, Dot, Vector, actor_of, epoch_of
from atoll.stores import open_store
from atoll.topology.wiring import StoreAccess

BLOCK_S: Final = 1.0
"""For how long one command blocks; longer waits are made of several, so that a dead server is noticed."""
BUCKETS: Final = 256
PAGE: Final = 1000
"""Keys that one step of a scan looks at."""
LOG: Final = "s:log"
MOVED: Final = "s:moved"
"""Channel on which the store says what it has come to know."""
ACKS: Final = "s:acks"
SESSION_COUNTS: Final = ("session_waits", "session_waits_behind", "session_waited_ms")


class ValkeyStore:
    """One region's store; fulfils `atoll.state.store.Store`, whose docstrings hold. To be closed, or used with `with`.

    Reads of values are one plain command each. `read_log` and `read_acks` block on connections of their own, so that
    they take none from the others. Errors are those of `Calls`.
    """

    __slots__ = ("_tail", "calls", "region")

    def __init__(self, client: Redis, tail: Redis, region: str) -> None:
        """`tail` is a second client of the same server, for reads that block; both are closed with this."""
        self.calls = Calls(client)
        self._tail = Calls(tail)
        self.region = region

    @classmethod
    def connect(cls, access: StoreAccess, region: str) -> Self:
        """A store by its access; connects when it is first used. Raises `SecretError`, `ValueError`."""
        return cls(open_store(access), open_store(access), region)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes all connections."""
        await self.calls.close()
        await self._tail.close()

    # --- Opening

    async def open(self, region: str, identity: str, *, floor: int = 0) -> Opened:
        actor, previous, seq, fresh = await self.calls.function("open", region, identity, floor)
        last = Dot(previous.decode(), int(seq)) if previous else None
        return Opened(actor.decode(), last, fresh == b"1")

    async def complete(self) -> None:
        await self.calls.function("complete")

    async def refuse(self, reason: str) -> None:
        await self.calls.function("refuse", reason)

    async def skew(self, by_ms: int) -> None:
        """Lets the store's wall clock be off until its server ends; for drills."""
        await self.calls.function("skew", by_ms)

    # --- Writing

    async def write(
        self, namespace: str, kind: Kind, key: str, changes: Sequence[Change], deps: Vector = NOTHING
    ) -> WriteResult:
        arguments = _arguments(kind, changes)
        function = "remove" if all(map(_removes, changes)) else "write"
        reply = await self.calls.function(function, namespace, kind.value, key, _packed(deps), *arguments)
        if kind is not Kind.COUNTER:
            return _written(reply)
        head, tallies = reply
        return _written(head, counter.total(counter.decode(tally) for tally in tallies))

    async def heartbeat(self) -> Dot:
        actor, seq = await self.calls.function("heartbeat")
        return Dot(actor.decode(), int(seq))

    async def expire(self, limit: int) -> int:
        return int(await self.calls.function("expire", limit))

    # --- Reading

    async def read_register(self, namespace: str, key: str) -> Envelope | None:
        data = await self.calls.command("GET", _name(namespace, Kind.REGISTER, key))
        return None if data is None else envelope.decode(data)

    async def read_map(self, namespace: str, key: str) -> Mapping[str, Envelope]:
        return {field: envelope.decode(data) async for field, data in self._cells(namespace, Kind.MAP, key)}

    async def read_field(self, namespace: str, key: str, field: str) -> Envelope | None:
        data = await self.calls.command("HGET", _name(namespace, Kind.MAP, key), field)
        return None if data is None else envelope.decode(data)

    async def read_counter(self, namespace: str, key: str) -> Mapping[Actor, Tally]:
        return {
            actor: counter.decode(data) async for actor, data in self._cells(namespace, Kind.COUNTER, key)
        }

    async def read_set(self, namespace: str, key: str) -> Mapping[str, Dots]:
        return {element: awset.decode(data) async for element, data in self._cells(namespace, Kind.SET, key)}

    async def read_element(self, namespace: str, key: str, element: str) -> Dots:
        data = await self.calls.command("HGET", _name(namespace, Kind.SET, key), element)
        return awset.EMPTY if data is None else awset.decode(data)

    async def vector(self) -> Vector:
        return _vector(await self.calls.look("vector"))

    async def clock(self) -> Stamp:
        stamp: bytes = await self.calls.look("clock")
        return stamp.decode()

    async def clocks(self) -> Clocks:
        wall_ms, stamp = await self.calls.look("clocks")
        return Clocks(wall_ms, stamp.decode())

    # --- Replication

    async def read_log(self, after: Dot | None, count: int, block_s: float = 0.0) -> LogSlice:
        cursor = (0, 0) if after is None else (epoch_of(after.actor), after.seq)
        if block_s > 0:
            following = await self._follow(LOG, f"{cursor[0]}-{cursor[1]}", count, block_s)
            if following:
                return self._slice(after, following, None)
        following, last = await self.calls.look("read_log", *cursor, count)
        return self._slice(after, following, Dot(last[0].decode(), int(last[1])) if last else None)

    async def apply(self, batch: Batch) -> ApplyResult:
        entries = (part for entry in batch.entries for part in entry)
        reply = await self.calls.function("apply", batch.actor, batch.after, batch.through, *entries)
        outcome, seq, applied, delay_ms, needs = reply
        return ApplyResult(
            ApplyOutcome(outcome.decode()),
            int(seq),
            applied,
            delay_ms,
            Dot.parse(needs.decode()) if needs else None,
        )

    async def peers(self) -> Mapping[str, PeerState]:
        found = _pairs(await self.calls.command("HGETALL", "s:peers"))
        return {region.decode(): _peer(region.decode(), data) for region, data in found}

    async def acked(self, peer: str, dot: Dot) -> None:
        await self.calls.function("acked", peer, dot.actor, dot.seq)

    async def read_acks(self, after: str, block_s: float = 0.0) -> AckSlice:
        if not after:
            newest = await self.calls.command("XREVRANGE", ACKS, "+", "-", "COUNT", 1)
            return AckSlice(newest[0][0].decode() if newest else "0-0", ())
        found = await self._follow(ACKS, after, PAGE, block_s)
        acks = []
        for _, fields in found:
            ack = dict(_pairs(fields))
            acks.append(Ack(ack[b"p"].decode(), Dot(ack[b"a"].decode(), int(ack[b"s"]))))
        return AckSlice(found[-1][0].decode() if found else after, tuple(acks))

    async def follow(self) -> AsyncIterator[Vector]:
        """What this store knows, then what it comes to know of other actors, as soon as a reader can see it.

        Ends with `StoreUnavailable` when the connection does.
        """
        async for moved in self._tail.messages(MOVED):
            if moved is not None:
                yield Vector.of((Dot.parse(moved.decode()),))
            else:
                yield await self.vector()

    async def trim(self, before: Dot) -> int:
        return int(await self.calls.function("trim", epoch_of(before.actor), before.seq))

    async def collect(self, stable: Vector, limit: int) -> int:
        return int(await self.calls.function("collect", _packed(stable), limit))

    # --- Transfer

    async def namespaces(self) -> tuple[str, ...]:
        found = _pairs(await self.calls.command("HGETALL", "s:namespaces"))
        return tuple(sorted(name.decode() for name, keys in found if int(keys) > 0))

    async def digests(self, namespace: str) -> Mapping[int, BucketDigest]:
        names = [f"s:g:{namespace}:{bucket:02x}" for bucket in range(BUCKETS)]
        sums = await self.calls.command("MGET", *names, *(f"{name}x" for name in names))
        found = zip(sums[:BUCKETS], sums[BUCKETS:], strict=True)
        digests = {
            bucket: BucketDigest(int(live or 0), int(gone or 0)) for bucket, (live, gone) in enumerate(found)
        }
        return {bucket: digest for bucket, digest in digests.items() if digest != BucketDigest()}

    async def listing(self, namespace: str, bucket: int) -> Listing:
        vector, cells = await self.calls.look("listing", namespace, f"{bucket:02x}")
        listed = (
            Cell(CellKey(Kind(kind.decode()), key.decode(), field.decode()), data)
            for kind, key, field, data in zip(*[iter(cells)] * 4, strict=True)
        )
        return Listing(_vector(vector), tuple(sorted(listed, key=lambda cell: _parts(cell.at))))

    async def cells(self, namespace: str, wanted: Sequence[CellKey]) -> tuple[Cell, ...]:
        replies = await self.calls.several([_read(namespace, at) for at in wanted])
        return tuple(Cell(at, data) for at, data in zip(wanted, replies, strict=True) if data is not None)

    async def merge(self, namespace: str, cells: Sequence[Cell]) -> MergeResult:
        flat = (part for cell in cells for part in (*_parts(cell.at), cell.data))
        merged, delay_ms = await self.calls.function("merge", namespace, *flat)
        return MergeResult(merged, delay_ms)

    async def settle(self, namespace: str, bucket: int, theirs: Listing) -> int:
        flat = (
            part
            for cell in theirs.cells
            for part in (*_parts(cell.at), cell.data if cell.at.kind is Kind.SET else b"")
        )
        return int(
            await self.calls.function("settle", namespace, f"{bucket:02x}", _packed(theirs.vector), *flat)
        )

    async def raise_to(self, vector: Vector, stamp: Stamp) -> int:
        return int(await self.calls.function("raise_to", _packed(vector), stamp))

    # --- Looking at it

    async def keys(self, namespace: str, kind: Kind, prefix: str, limit: int) -> tuple[str, ...]:
        found = [key async for key in self._keys(namespace, kind, prefix)]
        return tuple(heapq.nsmallest(limit, set(found)))

    async def conflicts(self, limit: int) -> tuple[Conflict, ...]:
        newest = await self.calls.command("XREVRANGE", "s:conflicts", "+", "-", "COUNT", limit)
        return tuple(_conflict(dict(_pairs(fields))) for _, fields in newest)

    async def statistics(self) -> StoreStatistics:
        meta, counts, vector, log, log_bytes, tombs, expiries, seq, is_open = await self.calls.look(
            "statistics"
        )
        facts = {name.decode(): value.decode() for name, value in _pairs(meta)}
        counted = {name.decode(): int(value) for name, value in _pairs(counts)}
        return StoreStatistics(
            region=facts.get("region", ""),
            actor=facts.get("actor", "") if is_open == b"1" else "",
            complete=facts.get("complete") == "1",
            lost="lost" in facts,
            refused=facts.get("refuse", ""),
            vector=_vector(vector),
            log_entries=log,
            log_bytes=log_bytes,
            tombstones=tombs,
            expiries=expiries,
            written=int(facts.get("written", "0")) + int(seq),
            applied=counted.get("applied", 0),
            gaps=counted.get("gaps", 0),
            futures=counted.get("futures", 0),
            waits=counted.get("waits", 0),
            merged=counted.get("merged", 0),
            settled=counted.get("settled", 0),
            collected=counted.get("collected", 0),
            expired=counted.get("expired", 0),
            conflicts=dict(_conflict_counts(counted)),
            sessions=SessionWaits(*(counted.get(name, 0) for name in SESSION_COUNTS)),
        )

    async def note_waits(self, waits: SessionWaits) -> None:
        added = (waits.waits, waits.behind, waits.waited_ms)
        for name, by in zip(SESSION_COUNTS, added, strict=True):
            await self.calls.command("HINCRBY", "s:count", name, by)

    # --- Inside

    async def _cells(self, namespace: str, kind: Kind, key: str) -> AsyncIterator[tuple[str, bytes]]:
        for field, data in _pairs(await self.calls.command("HGETALL", _name(namespace, kind, key))):
            yield field.decode(), data

    async def _keys(self, namespace: str, kind: Kind, prefix: str) -> AsyncIterator[str]:
        pattern = f"{kind}:{_escaped(prefix)}*"
        for bucket in range(BUCKETS):
            cursor: bytes | int = 0
            while True:
                index = f"s:i:{namespace}:{bucket:02x}"
                cursor, members = await self.calls.command(
                    "SSCAN", index, cursor, "MATCH", pattern, "COUNT", PAGE
                )
                for member in members:
                    yield member.decode().partition(":")[2]
                if int(cursor) == 0:
                    break

    async def _follow(self, stream: str, after: str, count: int, block_s: float) -> list[Reply]:
        """Entries of a stream behind an id, waiting for the first if there is none; empty if none came in time."""
        clock = asyncio.get_running_loop()
        until = clock.time() + block_s
        while True:
            left = until - clock.time()
            waiting: tuple[Argument, ...] = ()
            if left > 0:
                waiting = ("BLOCK", max(1, int(min(left, BLOCK_S) * 1000)))
            reply = await self._tail.command("XREAD", "COUNT", count, *waiting, "STREAMS", stream, after)
            if reply:
                ((_, entries),) = _streams(reply)
                return list(entries)
            if left <= BLOCK_S:
                return []

    def _slice(self, after: Dot | None, entries: Sequence[Reply], last: Dot | None) -> LogSlice:
        following = tuple(self._entry(number, fields) for number, fields in entries)
        if _lacks(after, following[0] if following else None, last):
            return LogSlice((), gap=True)
        return LogSlice(following)

    def _entry(self, number: bytes, fields: Reply) -> LogEntry:
        epoch, _, seq = number.partition(b"-")
        entry = dict(_pairs(fields))
        return LogEntry(Dot(actor_of(self.region, int(epoch)), int(seq)), entry[b"n"].decode(), entry[b"o"])


def _lacks(after: Dot | None, following: LogEntry | None, last: Dot | None) -> bool:
    """Whether something between a cursor and the next entry is cut off; `last`, the newest, counts if none follows."""
    if following is None:
        return last is not None and (after is None or _number(after) < _number(last))
    if after is not None and following.dot.actor == after.actor:
        return following.dot.seq != after.seq + 1
    if following.dot.seq != 1:
        return True
    begin = decode(following.operation)
    assert isinstance(begin, Begin)
    # Where the epoch before is older than the cursor's, an old disk was restored; the receiver sees what it lacks.
    return begin.previous is not None and (after is None or _number(begin.previous) > _number(after))


def _number(dot: Dot) -> tuple[int, int]:
    return epoch_of(dot.actor), dot.seq


def _arguments(kind: Kind, changes: Sequence[Change]) -> list[Argument]:
    """A write's changes as the function takes them. Raises `ValueError` if they don't fit `kind`."""
    flat: list[Argument] = []
    names: list[str] = []
    for change in changes:
        match change:
            case CellChange() if kind in {Kind.REGISTER, Kind.MAP}:
                names.append(change.field)
                removes = change.payload is None
                flat += (change.field, "x" if removes else change.expiry_ms, change.payload or b"")
            case SetChange() if kind is Kind.SET:
                names.append(change.element)
                flat += (change.element, int(change.present))
            case CounterChange() if kind is Kind.COUNTER:
                names.append("")
                flat.append(change.amount)
            case _:
                raise ValueError(f"a {kind.name.lower()} takes no {type(change).__name__}")
    if not names or len(set(names)) != len(names):
        raise ValueError(
            f"a {kind.name.lower()} takes each field or element once in a write, and at least one"
        )
    if kind is Kind.REGISTER and names != [REGISTER_FIELD]:
        raise ValueError("a register takes one change, whose field is empty")
    return flat


def _removes(change: Change) -> bool:
    """Whether a change only takes away; such ones are done in a full store too."""
    match change:
        case CellChange(payload=None) | SetChange(present=False):
            return True
    return False


def _written(head: bytes, total: int | None = None) -> WriteResult:
    stamp, actor, seq, existed = head.decode().split("|")
    return WriteResult(Dot(actor, int(seq)), stamp, tuple(one == "1" for one in existed), total)


def _name(namespace: str, kind: Kind, key: str) -> str:
    return f"s:d:{namespace}:{kind.value}:{key}"


def _read(namespace: str, at: CellKey) -> tuple[Argument, ...]:
    name = _name(namespace, at.kind, at.key)
    return ("GET", name) if at.kind is Kind.REGISTER else ("HGET", name, at.field)


def _parts(at: CellKey) -> tuple[str, str, str]:
    return at.kind.value, at.key, at.field


def _packed(vector: Vector) -> bytes:
    packed = msgpack.packb(dict(vector), use_bin_type=False)
    assert isinstance(packed, bytes)
    return packed


def _pairs(reply: Reply) -> Iterable[tuple[bytes, bytes]]:
    """A map, which the older protocol and functions give as a flat list."""
    if isinstance(reply, dict):
        return reply.items()
    return zip(reply[::2], reply[1::2], strict=True)


def _streams(reply: Reply) -> Iterable[tuple[bytes, Reply]]:
    """What XREAD answers: a map, or in the older protocol a list of pairs."""
    return reply.items() if isinstance(reply, dict) else reply


def _vector(flat: Reply) -> Vector:
    return Vector({actor.decode(): int(seq) for actor, seq in _pairs(flat)})


def _peer(region: str, data: bytes) -> PeerState:
    actor, vector, stamp, wall_ms, applied_ms = msgpack.unpackb(data, raw=True, strict_map_key=False)
    known = Vector({name.decode(): seq for name, seq in vector.items()} if vector else {})
    return PeerState(region, actor.decode(), known, stamp.decode(), wall_ms, applied_ms)


def _conflict(fields: Mapping[bytes, bytes]) -> Conflict:
    text = {name: value.decode() for name, value in fields.items()}
    return Conflict(
        text[b"n"],
        CellKey(Kind(text[b"k"]), text[b"key"], text[b"f"]),
        Dot.parse(text[b"w"]),
        text[b"ws"],
        Dot.parse(text[b"l"]),
        text[b"ls"],
    )


def _conflict_counts(counted: Mapping[str, int]) -> Iterator[tuple[tuple[str, Kind], int]]:
    for name, number in counted.items():
        what, _, place = name.partition(":")
        if what == "conflict":
            kind, _, namespace = place.partition(":")
            yield (namespace, Kind(kind)), number


def _escaped(text: str) -> str:
    """Text without meaning to a glob pattern."""
    return "".join(f"\\{char}" if char in "*?[]^\\" else char for char in text)
