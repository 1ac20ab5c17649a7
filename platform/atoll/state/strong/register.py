"""What a register holds, and what a change does to it. Pure.

Acceptors keep it as bytes that they don't look into. A deleted register is a tombstone, which keeps the version, so
that a version never comes back with another value.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from atoll.state.strong.backend import ABSENT, ANY, Change, Committed, Conflict, Deletion, Outcome, Versioned
from atoll.state.strong.codec import pack, unpack

FORMAT = 1
REMEMBERED = 64
"""Operations whose outcome a register keeps. A change may be repeated safely until so many others of the same key have
followed it; after that it counts as a new one. Those that were refused for a version that has passed don't count. A
round figure of this project's own: 64 ids of 22 characters are 1.8 KB in every accept."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """An operation that has its outcome."""

    operation_id: str
    version: int
    """Committed, or found at the conflict."""
    committed: bool


@dataclass(frozen=True, slots=True)
class Value:
    """A register's value at one version."""

    version: int = 0
    payload: bytes | None = None
    """None: absent (version 0) or deleted."""
    operations: tuple[Remembered, ...] = ()
    """The newest ones, oldest first."""

    @property
    def versioned(self) -> Versioned | None:
        return None if self.payload is None else Versioned(self.version, self.payload)

    def encode(self) -> bytes:
        operations = [[done.operation_id, done.version, done.committed] for done in self.operations]
        return pack([FORMAT, self.version, self.payload, operations])


EMPTY = Value()


def decode(encoded: bytes | None) -> Value:
    """From `Value.encode`; None is a register that nobody has written. Raises `ValueError` for another format."""
    if encoded is None:
        return EMPTY
    form, version, payload, operations = unpack(encoded)
    if form != FORMAT:
        raise ValueError(
            f"a register's value has format {form}, and this release reads {FORMAT}: update this region first"
        )
    return Value(version, payload, tuple(Remembered(*done) for done in operations))


def change(value: Value, order: Change, remembered: int = REMEMBERED) -> tuple[Value, Outcome]:
    """Makes one change, or none, and remembers its outcome. A change that is remembered already has its first outcome.

    A conflict is remembered too: a copy of the request that comes late must not succeed after the client was told that
    it failed. One that expects a version which has passed never will, for no version comes back.
    """
    for done in value.operations:
        if done.operation_id == order.operation_id:
            return value, Committed(done.version) if done.committed else Conflict(value.versioned)
    if not _expected(value, order):
        if isinstance(order.expect, int) and order.expect <= value.version:
            return value, Conflict(value.versioned)
        done = Remembered(order.operation_id, value.version, committed=False)
        return _with(value, done, remembered), Conflict(value.versioned)
    version = value.version + order.changes
    payload = None if isinstance(order.value, Deletion) else order.value
    done = Remembered(order.operation_id, version, committed=True)
    return _with(Value(version, payload, value.operations), done, remembered), Committed(version)


def changes(
    value: Value, orders: Iterable[Change], remembered: int = REMEMBERED
) -> tuple[Value, list[Outcome]]:
    """Makes several changes, in order."""
    outcomes = []
    for order in orders:
        value, outcome = change(value, order, remembered)
        outcomes.append(outcome)
    return value, outcomes


def _expected(value: Value, order: Change) -> bool:
    if order.expect is ANY:
        return True
    if order.expect is ABSENT:
        return value.payload is None
    return value.payload is not None and value.version == order.expect


def _with(value: Value, done: Remembered, remembered: int) -> Value:
    kept = (*value.operations, done)
    return replace(value, operations=kept[max(0, len(kept) - remembered) :])
