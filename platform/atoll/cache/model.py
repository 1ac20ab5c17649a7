"""The cache store in memory: the same answers as `library.lua`, for the simulator and for tests of services.

It never evicts by itself; `evict` and `lose` do what a real store does at any time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from atoll.cache.store import Dropped, Fill, Found, LeaseState, Place
from atoll.clock import Clock
from atoll.state.vector import NOTHING, Vector


@dataclass(slots=True)
class _Lease:
    token: str
    until_ms: int
    marks: tuple[str, ...]


@dataclass(slots=True)
class _Entry:
    content: bytes
    fill: str
    marks: tuple[str, ...]


@dataclass(slots=True)
class _Record:
    entry: _Entry | None = None
    lease: _Lease | None = None
    floor: Vector = NOTHING
    floor_until_ms: int = 0
    mark: str | None = None
    until_ms: int = 0

    def live(self, until_ms: int) -> None:
        self.until_ms = max(self.until_ms, until_ms)

    def floor_at(self, now_ms: int) -> Vector:
        return self.floor if now_ms < self.floor_until_ms else NOTHING


@dataclass(slots=True)
class _Content:
    records: dict[tuple[str, str], _Record] = field(default_factory=dict)
    generations: dict[str, str] = field(default_factory=dict)
    heard_ms: int | None = None


class ModelCacheStore:
    """A region's cache store, in this process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._content = _Content()
        self._given = 0

    def evict(self, namespace: str, key: str) -> None:
        """What a full store does to a record."""
        self._content.records.pop((namespace, key), None)

    def lose(self) -> None:
        """What a restart does."""
        self._content = _Content()

    @property
    def records(self) -> Sequence[tuple[str, str]]:
        """Namespace and key of what is there."""
        return list(self._content.records)

    async def get(self, place: Place, token: str, owner: str, lease_ms: int, unless: str = "") -> Found:
        now_ms = self._now_ms()
        record = self._record(place.namespace, place.key)
        standing = self._marks(place)
        entry = record.entry
        if entry is not None and entry.marks != standing:
            entry = None
        lease = record.lease
        if entry is not None and entry.fill != unless:
            state = LeaseState.NONE
        elif (
            lease is not None
            and lease.until_ms > now_ms
            and lease.marks == standing
            and not (owner and lease.token.startswith(f"{owner}:"))
        ):
            state = LeaseState.HELD if lease.token else LeaseState.PAUSED
        else:
            state = LeaseState.GRANTED
            record.lease = _Lease(token, now_ms + lease_ms, self._marked(place, now_ms + lease_ms))
            record.live(now_ms + lease_ms)
        return Found(
            now_ms=now_ms,
            heard_ms=self._content.heard_ms,
            entry=None if entry is None else entry.content,
            fill="" if entry is None else entry.fill,
            lease=state,
        )

    async def fill(self, place: Place, token: str, vector: Vector, entry: bytes, keep_ms: int) -> Fill:
        now_ms = self._now_ms()
        record = self._record(place.namespace, place.key)
        lease = record.lease
        if lease is not None and not (lease.token == token and lease.until_ms > now_ms):
            lease = None
        standing = self._marks(place)
        clear = lease is None or lease.marks == standing
        records = [record, *(self._record(*each) for each in place.depends)]
        clear = clear and all(each.floor_at(now_ms) <= vector for each in records)
        if lease is not None:
            record.lease = None
        if not clear:
            return Fill.OVERTAKEN
        if lease is None:
            return Fill.LOST
        record.entry = _Entry(entry, token, lease.marks)
        for each in records:
            each.live(now_ms + keep_ms)
        return Fill.TAKEN

    async def release(self, place: Place, token: str, pause_ms: int) -> None:
        record = self._record(place.namespace, place.key)
        lease = record.lease
        if lease is None or lease.token != token:
            return
        if pause_ms > 0:
            record.lease = _Lease("", self._now_ms() + pause_ms, lease.marks)
            record.live(self._now_ms() + pause_ms)
        else:
            record.lease = None

    async def drop(self, dropped: Sequence[Dropped], floor_ms: int) -> None:
        now_ms = self._now_ms()
        for each in dropped:
            record = self._record(each.namespace, each.key)
            floor = record.floor_at(now_ms)
            if not floor.covers(each.dot):
                record.entry = None
                record.lease = None
                if record.mark is not None:
                    record.mark = self._fresh_mark()
            record.floor = floor.raised(*each.dot)
            record.floor_until_ms = now_ms + floor_ms
            record.live(now_ms + floor_ms)

    async def flush(self, namespaces: Sequence[str]) -> None:
        for name in namespaces:
            self._content.generations[name] = self._fresh_mark()

    async def pulse(self, heard_ms: int) -> int:
        now_ms = self._now_ms()
        self._content.heard_ms = min(now_ms, max(heard_ms, self._content.heard_ms or 0))
        return now_ms

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)

    def _record(self, namespace: str, key: str) -> _Record:
        record = self._content.records.get((namespace, key))
        if record is None or record.until_ms <= self._now_ms():
            record = self._content.records[namespace, key] = _Record()
        return record

    def _marks(self, place: Place) -> tuple[str, ...] | None:
        found = [self._content.generations.get(name) for name in _namespaces(place)]
        found.extend(self._record(*each).mark for each in place.depends)
        marks = tuple(mark for mark in found if mark is not None)
        return marks if len(marks) == len(found) else None

    def _marked(self, place: Place, until_ms: int) -> tuple[str, ...]:
        generations = self._content.generations
        marks = [generations.setdefault(name, self._fresh_mark()) for name in _namespaces(place)]
        for each in place.depends:
            record = self._record(*each)
            record.mark = record.mark or self._fresh_mark()
            record.live(until_ms)
            marks.append(record.mark)
        return tuple(marks)

    def _fresh_mark(self) -> str:
        self._given += 1
        return str(self._given)


def _namespaces(place: Place) -> list[str]:
    return list(dict.fromkeys((place.namespace, *(namespace for namespace, _ in place.depends))))
