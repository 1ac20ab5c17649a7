"""The operations on one register that wait for its proposer, in order; several go into one round. Sans-I/O.

A proposer makes one attempt at a time: two at once would only beat each other. What comes meanwhile waits, and goes
together into the next attempt, so that a busy key costs one round a batch and not one an operation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from atoll.state.strong.backend import Change, Outcome, Versioned
from atoll.state.strong.register import REMEMBERED, changes, decode

BATCH = REMEMBERED // 4
"""Operations that one attempt takes at most: few enough that a register remembers them for several rounds."""

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Entry(Generic[T]):
    """An operation that waits."""

    change: Change | None
    """None: a read, or the rewriting of the value as it is."""
    rewrite: bool
    """Whether the value has to be written even if nothing changes."""
    ticket: T
    """By which the caller knows it."""
    proposed: bool = False
    """Whether it has been in a value that may have reached an acceptor: from then on its outcome is unknown."""
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an operation."""

    outcome: Outcome | None
    """Of a change."""
    value: Versioned | None
    """The register's, after the whole batch."""


class Batch(Generic[T]):
    """Operations of one attempt."""

    def __init__(self, entries: Sequence[Entry[T]], remembered: int = REMEMBERED) -> None:
        self.entries = entries
        self._remembered = remembered
        self._changed: list[Entry[T]] = []
        self._outcomes: list[Outcome] = []

    @property
    def only_reads(self) -> bool:
        return all(entry.change is None and not entry.rewrite for entry in self.entries)

    def transition(self, encoded: bytes | None) -> bytes:
        """Makes the batch's changes, in order; what was withdrawn meanwhile is left out."""
        value = decode(encoded)
        changed = [entry for entry in self.entries if entry.change is not None and not entry.withdrawn]
        orders = [entry.change for entry in changed if entry.change is not None]
        value, self._outcomes = changes(value, orders, self._remembered)
        self._changed = changed
        for entry in changed:
            entry.proposed = True
        return value.encode()

    def answers(self, encoded: bytes | None) -> Iterator[tuple[Entry[T], Answer]]:
        """After success: what each operation gets. `encoded` is the value that was chosen."""
        value = decode(encoded).versioned
        outcomes = dict(zip(map(id, self._changed), self._outcomes, strict=True))
        for entry in self.entries:
            outcome = outcomes.get(id(entry))
            if entry.change is None or outcome is not None:
                yield entry, Answer(outcome, value)


class Queue(Generic[T]):
    """One register's waiting operations."""

    __slots__ = ("_entries", "_remembered")

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._entries: dict[int, Entry[T]] = {}
        self._remembered = remembered

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, ticket: T, change: Change | None = None, *, rewrite: bool = False) -> Entry[T]:
        """At the end."""
        entry = Entry(change, rewrite, ticket)
        self._entries[id(entry)] = entry
        return entry

    def batch(self) -> Batch[T]:
        """The first ones. They stay until they are withdrawn, so that an attempt that fails loses none."""
        entries = [entry for entry, _ in zip(self._entries.values(), range(BATCH), strict=False)]
        return Batch(entries, self._remembered)

    def withdraw(self, entry: Entry[T]) -> None:
        """It has its answer, or its caller waits no longer. What was proposed may be done all the same."""
        entry.withdrawn = True
        self._entries.pop(id(entry), None)

    def waiting(self) -> list[Entry[T]]:
        """All of them, in order."""
        return list(self._entries.values())
