"""The cache in a process's memory: entries for about a second each, least recently used first out, and floors.

A **floor** says which writes an entry of a key must have seen. It drops the entry that is there, and it also keeps out
the one that is still on its way: its load may have begun before the write. Floors are raised by this process's own
writes; those of others reach its memory by time alone.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from atoll.cache.entry import Entry
from atoll.clock import Clock
from atoll.state.vector import NOTHING, Dot, Vector

OVERHEAD = 600
"""Bytes that an entry costs beside its key and its value: measured, with a vector of three actors."""
FLOORS = 10_000
"""More are joined into one floor that all keys share: stricter than each, and never wrong."""


@dataclass(frozen=True, slots=True)
class MemoryStatistics:
    """A snapshot. Counters run from the start."""

    entries: int
    bytes: int
    floors: int
    hits: int
    misses: int
    evictions: int
    drops: int
    """Floors raised."""
    overtaken: int
    """Entries that a floor kept out, or threw out."""


@dataclass(slots=True)
class _Held:
    entry: Entry
    until: float
    sure: float
    gone: float
    size: int


@dataclass(slots=True)
class _Floor:
    vector: Vector
    until: float


class Memory:
    """For one event loop; not for several threads. Times are the clock's monotonic seconds."""

    __slots__ = (
        "_bytes",
        "_common",
        "_drops",
        "_evictions",
        "_floor_s",
        "_floors",
        "_held",
        "_hits",
        "_limit",
        "_misses",
        "_now",
        "_overtaken",
    )

    def __init__(self, clock: Clock, limit_bytes: int, floor_s: float) -> None:
        self._now = clock.monotonic
        self._limit = limit_bytes
        self._floor_s = floor_s
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._floors: OrderedDict[str, _Floor] = OrderedDict()
        """The one raised longest ago first."""
        self._common = _Floor(NOTHING, 0.0)
        self._bytes = 0
        self._hits = 0
        self._misses = 0
        self._evictions = 0
        self._drops = 0
        self._overtaken = 0

    def get(self, record: str, depends: Iterable[str] = (), *, behind: bool = False) -> Entry | None:
        """The entry of a record, if it may still answer by itself."""
        held = self._held.get(record)
        if (
            held is None
            or self._now() >= (held.sure if behind else held.until)
            or not self._clears(held.entry, record, depends)
        ):
            self._misses += 1
            return None
        self._held.move_to_end(record)
        self._hits += 1
        return held.entry

    def spare(self, record: str, depends: Iterable[str] = ()) -> Entry | None:
        """What is left of it, for a reader that has nowhere else to go: until its hard end, and never below a floor."""
        held = self._held.get(record)
        if held is None or self._now() >= held.gone or not self._clears(held.entry, record, depends):
            return None
        return held.entry

    def put(
        self,
        record: str,
        entry: Entry,
        *,
        until: float,
        sure: float,
        gone: float,
        depends: Iterable[str] = (),
    ) -> bool:
        """Keeps an entry; false if a floor overtook it.

        It answers by itself `until` then (while replication is behind: until it is no longer `sure`), and in need until
        it is `gone`.
        """
        if not self._clears(entry, record, depends):
            self._overtaken += 1
            return False
        self._remove(record)
        size = OVERHEAD + len(record) + len(entry.value or b"")
        if size > self._limit:
            return True
        self._held[record] = _Held(entry, until, sure, gone, size)
        self._bytes += size
        while self._bytes > self._limit:
            self._remove(next(iter(self._held)))
            self._evictions += 1
        return True

    def raise_floor(self, record: str, dot: Dot) -> bool:
        """From now on no entry of the record is served that has not seen `dot`, nor any that depends on it.

        False if that was so before.
        """
        self._drops += 1
        now = self._now()
        known = self._floors.pop(record, None)
        vector = NOTHING if known is None or now >= known.until else known.vector
        self._floors[record] = _Floor(vector.raised(*dot), now + self._floor_s)
        held = self._held.get(record)
        if held is not None and not held.entry.vector.covers(dot):
            self._remove(record)
            self._overtaken += 1
        self._shed_floors(now)
        return not vector.covers(dot)

    def clear(self) -> None:
        """Drops every entry; floors stay."""
        self._held.clear()
        self._bytes = 0

    def statistics(self) -> MemoryStatistics:
        return MemoryStatistics(
            entries=len(self._held),
            bytes=self._bytes,
            floors=len(self._floors),
            hits=self._hits,
            misses=self._misses,
            evictions=self._evictions,
            drops=self._drops,
            overtaken=self._overtaken,
        )

    def _clears(self, entry: Entry, record: str, depends: Iterable[str]) -> bool:
        """Whether the entry is at or above every floor that concerns it."""
        if not self._floors:
            return True  # and the common one came from floors that are all older
        now = self._now()
        vector = entry.vector
        if now < self._common.until and not self._common.vector <= vector:
            return False
        floors = self._floors
        return all(
            floor is None or now >= floor.until or floor.vector <= vector
            for floor in (floors.get(record), *map(floors.get, depends))
        )

    def _shed_floors(self, now: float) -> None:
        while self._floors:
            record, oldest = next(iter(self._floors.items()))
            over = len(self._floors) > FLOORS
            if not over and now < oldest.until:
                return
            del self._floors[record]
            if over:
                common = self._common.vector if now < self._common.until else NOTHING
                self._common = _Floor(common.join(oldest.vector), max(oldest.until, self._common.until))

    def _remove(self, record: str) -> None:
        held = self._held.pop(record, None)
        if held is not None:
            self._bytes -= held.size
