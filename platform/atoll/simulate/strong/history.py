"""Histories of strong registers: what clients asked for and what they were told, and how a register would answer."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import TypeAlias

from atoll.simulate.strong.linearizable import Call, Verdict, check
from atoll.state.strong.backend import (
    ANY,
    Change,
    Committed,
    Conflict,
    Deletion,
    Outcome,
    Versioned,
)


@dataclass(frozen=True, slots=True)
class Got:
    """A read and what it found."""

    value: Versioned | None


@dataclass(frozen=True, slots=True)
class Changed:
    """A change and what came of it; None: unknown."""

    change: Change
    outcome: Outcome | None


Operation: TypeAlias = Got | Changed


@dataclass(frozen=True, slots=True)
class Event:
    """A client's operation on a key. What was certainly not done is no event: nobody may ever see it."""

    key: str
    call: Call[Operation]


@dataclass(frozen=True, slots=True)
class State:
    """A register as its history tells."""

    version: int = 0
    exact: bool = True
    """False: changes of unknown version have followed `version`."""
    payload: bytes | None = None


def judge(events: Iterable[Event]) -> Mapping[str, Verdict[Operation]]:
    """A verdict for each key. Values written must all be different. Raises `Undecided`."""
    calls: dict[str, list[Call[Operation]]] = defaultdict(list)
    for event in events:
        calls[event.key].append(event.call)
    return {
        key: check(list(_settled(_expanded(_relevant(found)))), State(), step, _rank)
        for key, found in calls.items()
    }


def step(state: State, operation: Operation) -> State | None:
    """What a register does: the model."""
    if isinstance(operation, Got):
        found = operation.value
        if found is None:
            return state if state.payload is None else None
        fits = found.value == state.payload and _may_be(state, found.version)
        return State(found.version, exact=True, payload=found.value) if fits else None
    change, outcome = operation.change, operation.outcome
    if isinstance(outcome, Conflict):
        return None if _surely_expected(state, change) else state
    if not _perhaps_expected(state, change):
        return None
    floor = max(state.version, change.expect) if isinstance(change.expect, int) else state.version
    payload = None if isinstance(change.value, Deletion) else change.value
    if outcome is None:
        return State(floor, exact=False, payload=payload)
    return State(outcome.version, exact=True, payload=payload) if outcome.version > floor else None


def _may_be(state: State, version: int) -> bool:
    return version == state.version if state.exact else version > state.version


def _perhaps_expected(state: State, change: Change) -> bool:
    if change.expect is ANY:
        return True
    if isinstance(change.expect, int):
        return state.payload is not None and _may_be(state, change.expect)
    return state.payload is None


def _surely_expected(state: State, change: Change) -> bool:
    return (state.exact or not isinstance(change.expect, int)) and _perhaps_expected(state, change)


def _relevant(calls: list[Call[Operation]]) -> Iterator[Call[Operation]]:
    """Leaves out changes of unknown outcome whose value nobody ever saw.

    Nothing tells whether they took effect, and a search needs not try: without them any order that holds still holds.
    Deletions stay, since who sees an absent value doesn't see whose doing it is.
    """
    seen: set[bytes] = set()
    for call in calls:
        match call.operation:
            case Got(Versioned(_, value)) | Changed(_, Conflict(Versioned(_, value))):
                seen.add(value)
            case _:
                pass
    for call in calls:
        match call.operation:
            case Changed(Change(value=bytes() as value), None) if value not in seen:
                pass
            case _:
                yield call


def _expanded(calls: Iterable[Call[Operation]]) -> Iterator[Call[Operation]]:
    """A conflict also reads, and for a repeated change later than it was decided: two operations of one interval. Not
    for those who take turns: they are told what was there a moment ago.
    """
    for call in calls:
        yield call
        match call.operation:
            case Changed(Change(caller=""), Conflict(current)):
                yield replace(call, operation=Got(current))
            case _:
                pass


def _settled(calls: Iterable[Call[Operation]]) -> Iterator[Call[Operation]]:
    """A change of unknown outcome whose value was seen took effect, with that version, before the first who saw it had
    returned.
    """
    found = list(calls)
    seen: dict[bytes, tuple[int, float]] = {}
    for call in found:
        match call:
            case Call(Got(Versioned(version, value)), _, float() | int() as returned):
                seen[value] = min(seen.get(value, (version, inf)), (version, returned))
            case _:
                pass
    for call in found:
        match call.operation:
            case Changed(Change(value=bytes() as value) as change, None) if value in seen:
                version, returned = seen[value]
                yield replace(call, operation=Changed(change, Committed(version)), returned=returned)
            case _:
                yield call


def _rank(operation: Operation) -> tuple[int, int] | None:
    """Versions only grow: what made one came before those who read it, and they before what made a higher one."""
    match operation:
        case Got(Versioned(version, _)):
            return version, 1
        case Changed(_, Committed(version)):
            return version, 0
    return None
