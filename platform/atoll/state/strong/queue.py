"""The operations on one register that wait for its proposer, in order; several go into one round. Sans-I/O.

A proposer makes one attempt at a time: two at once would only beat each other. What comes meanwhile waits, and goes
together into the next attempt, so that a busy key costs one round a batch and not one an operation.

Of changes that expect the same version one can succeed, and whoever is near would always be first with the next one.
So callers that try until they succeed (those with a name) take turns: who was refused gets in line, and while its next
try is on the way the others' wait. Tries that have become vain meanwhile are refused as soon as that is known, without
a round. A caller needs as many tries as there are callers, and one more. It is a matter of speed alone: one that does
not come, or comes by another proposer, is waited for no longer than `TURN_S`.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic, TypeVar

from atoll.state.strong.backend import Change, Conflict, Outcome, Versioned
from atoll.state.strong.register import REMEMBERED, change, changes, decode

BATCH = REMEMBERED // 4
"""Operations that one attempt takes at most: few enough that a register remembers them for several rounds."""
TURN_S = 0.5
"""For a caller's next try to come: a round trip around the world, and some work."""

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

    @property
    def caller(self) -> str:
        """Who takes turns; empty for all others."""
        return "" if self.change is None else self.change.caller


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


@dataclass(slots=True)
class Turns:
    """Callers in line, the first of whom has its turn."""

    callers: list[str] = field(default_factory=list)
    until: float = 0.0
    """When the first one's turn is over, if it doesn't come."""

    def next(self, here: Collection[str], now: float) -> str:
        """Whose turn it is; empty if anybody's. Once the first one is late, all who are not `here` lose their place."""
        if self.callers and now >= self.until:
            self.callers = [caller for caller in self.callers if caller in here]
            self.until = now + TURN_S
        return self.callers[0] if self.callers else ""

    def settle(self, caller: str, *, refused: bool, now: float) -> None:
        """A caller has its answer: once refused it gets in line, or keeps its place there."""
        if not self.callers or self.callers[0] == caller:
            self.until = now + TURN_S
        if not refused and caller in self.callers:
            self.callers.remove(caller)
        elif refused and caller not in self.callers:
            self.callers.append(caller)


class Queue(Generic[T]):
    """One register's waiting operations."""

    __slots__ = ("_entries", "_remembered", "_turns")

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._entries: dict[int, Entry[T]] = {}
        self._remembered = remembered
        self._turns = Turns()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, ticket: T, change: Change | None = None, *, rewrite: bool = False) -> Entry[T]:
        """At the end."""
        entry = Entry(change, rewrite, ticket)
        self._entries[id(entry)] = entry
        return entry

    def batch(self, now: float) -> Batch[T]:
        """The first ones; of those that take turns one, and before the others. Empty while another one's is waited for.

        They stay until they are withdrawn, so that an attempt that fails loses none.
        """
        turn = self._turns.next({entry.caller for entry in self._entries.values()}, now)
        own = [entry for entry in self._entries.values() if entry.caller and turn in ("", entry.caller)]
        others = (entry for entry in self._entries.values() if not entry.caller)
        entries = [entry for entry, _ in zip(chain(own[:1], others), range(BATCH), strict=False)]
        return Batch(entries, self._remembered)

    def waits_s(self, now: float) -> float:
        """How long an empty batch stays so, unless somebody comes."""
        return max(0.0, self._turns.until - now)

    def settle(self, entry: Entry[T], outcome: Outcome | None, now: float) -> None:
        """It has its answer."""
        self.withdraw(entry)
        if entry.caller:
            self._turns.settle(entry.caller, refused=isinstance(outcome, Conflict), now=now)

    def vain(self, encoded: bytes | None) -> list[tuple[Entry[T], Answer]]:
        """Those that take turns and will be refused, now that the register has this value, or had it a moment ago: for
        the version that they expect has passed.
        """
        value = decode(encoded)
        refused: list[tuple[Entry[T], Answer]] = []
        for entry in self._entries.values():
            if entry.change is None or not entry.caller or entry.proposed:
                continue
            after, outcome = change(value, entry.change, self._remembered)
            if after is value and isinstance(outcome, Conflict):
                refused.append((entry, Answer(outcome, value.versioned)))
        return refused

    def withdraw(self, entry: Entry[T]) -> None:
        """It has its answer, or its caller waits no longer. What was proposed may be done all the same."""
        entry.withdrawn = True
        self._entries.pop(id(entry), None)

    def waiting(self) -> list[Entry[T]]:
        """All of them, in order."""
        return list(self._entries.values())
