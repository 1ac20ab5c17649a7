"""This region's own writes (`library/write.lua`)."""

from collections.abc import Sequence
from typing import TypeVar

from atoll.state.errors import Refusal, StoreRefused
from atoll.state.kind import Kind
from atoll.state.model.merge import Merging
from atoll.state.model.read import Reading
from atoll.state.model.region import command
from atoll.state.operation import CellWrite, CellWrites, ElementWrite, ElementWrites, Totals, Write
from atoll.state.stamp import Stamp
from atoll.state.store import (
    REGISTER_FIELD,
    CellChange,
    CellKey,
    Change,
    CounterChange,
    SetChange,
    WriteResult,
)
from atoll.state.types import counter
from atoll.state.types.counter import Tally
from atoll.state.vector import NOTHING, Dot, Vector


class Writing(Merging, Reading):
    """Each merges, stores and logs in one step."""

    @command
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

    @command
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

    def _may_write(self) -> None:
        self._must_be_open()
        if self._state.refused:
            raise StoreRefused(Refusal.CLOCK, f"writes are off: {self._state.refused}")

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
