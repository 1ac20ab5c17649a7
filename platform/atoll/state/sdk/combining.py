"""Updates of one register that a process has under way together share its changes.

Side by side each would read and write for itself, over the same round trips, and of each round one would win. So those
that wait are applied one after the other to one value, which is written by one compare-and-set, while the next ones
gather. (Hendler, Incze, Shavit, Tzafrir, "Flat Combining and the Synchronization-Parallelism Tradeoff", SPAA 2010.)
Each try begins with the value that was seen last, without a read: if it is another one by now, the conflict tells.
"""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import TypeAlias

from atoll.resilience.deadline import Deadline
from atoll.state.strong.backend import (
    ABSENT,
    Change,
    Committed,
    Outcome,
    StrongBackend,
    StrongError,
    Unavailable,
    Unknown,
    Versioned,
)

MOST = 64
"""Updates that share a change at most: each of them decodes and encodes the value, and the process stands still."""
KEPT = 256
"""Registers whose last value is kept; of those at rest the oldest goes first."""

Apply: TypeAlias = Callable[[bytes | None], bytes]
"""A register's value -> its next one; None for no value. What it raises ends its own update alone."""


@dataclass(frozen=True, slots=True)
class CombiningStatistics:
    """A snapshot; counters run from the start of this process."""

    registers: int
    """Whose value is at hand."""
    updates: int
    """That have their outcome, what they raised included."""
    changes: int
    """Written for them: several updates may share one."""
    conflicts: int
    """Tries in vain, since others had changed the register."""
    reads: int


@dataclass(slots=True)
class _Counts:
    updates: int = 0
    changes: int = 0
    conflicts: int = 0
    reads: int = 0


@dataclass(frozen=True, slots=True)
class _Raised:
    """What an update's function raised."""

    error: Exception


@dataclass(slots=True, eq=False)
class _Update:
    """An update that waits; its answer is done as well once nobody waits for it any more."""

    apply: Apply
    context: Context
    """Its caller's, in which the function is called."""
    deadline: Deadline
    joined: int
    """How many operations of the line had begun by then."""
    answer: asyncio.Future[Versioned | _Raised | StrongError]
    sent: bool = False
    """Whether it is in a value that may have been written."""

    def call(self, before: bytes | None) -> bytes | _Raised:
        try:
            return self.context.run(self.apply, before)
        except Exception as error:  # noqa: BLE001  its caller's, who gets it; those who share the change don't
            return _Raised(error)

    def settle(self, answer: Versioned | _Raised | StrongError) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, why: str) -> None:
        self.settle(_failure(why, sent=self.sent))


@dataclass(frozen=True, slots=True)
class _Basis:
    """A register's value as an operation told it."""

    found: Versioned | None
    operation: int
    """Which of the line's; 0: a conflict told it, which may have been a moment late."""

    def is_news_to(self, updates: Iterable[_Update]) -> bool:
        """Whether it was asked for after all of them were called: then they may be answered by it alone."""
        return all(update.joined < self.operation for update in updates)


@dataclass(frozen=True, slots=True)
class _Made:
    """What an update made of the value."""

    update: _Update
    result: bytes | _Raised
    changes: int
    """Of the value, by this update and those before it."""
    changed: bool


@dataclass(frozen=True, slots=True)
class _Combined:
    """What updates make of a value, one after the other."""

    value: bytes | None
    """After all of them."""
    made: Sequence[_Made]
    changes: int

    def settle(self, version: int) -> None:
        """The register has the value, at this version, and each change that led there raised it by one."""
        for made in self.made:
            if isinstance(made.result, bytes):
                made.update.settle(Versioned(version - self.changes + made.changes, made.result))
            else:
                made.update.settle(made.result)


def _combine(value: bytes | None, updates: Iterable[_Update]) -> _Combined:
    made = []
    changes = 0
    for update in updates:
        result = update.call(value)
        changed = isinstance(result, bytes) and result != value
        if isinstance(result, bytes):
            value = result
        changes += changed
        made.append(_Made(update, result, changes, changed))
    return _Combined(value, made, changes)


@dataclass(slots=True)
class _Line:
    """A register's updates, in order, and the one task that works on them."""

    namespace: str
    key: str
    waiting: list[_Update] = field(default_factory=list)
    operations: int = 0
    """Begun so far."""
    basis: _Basis | None = None
    task: asyncio.Task[None] | None = None

    def batch(self) -> list[_Update]:
        """Whom the next try is for."""
        self.waiting = [update for update in self.waiting if not update.answer.done()]
        return self.waiting[:MOST]

    def __str__(self) -> str:
        return f"strong register {self.namespace}/{self.key}"


class Combining:
    """All of one process."""

    def __init__(self, backend: StrongBackend) -> None:
        self._backend = backend
        self._name = uuid.uuid4().hex
        self._lines: OrderedDict[tuple[str, str], _Line] = OrderedDict()
        self._counts = _Counts()

    async def update(self, namespace: str, key: str, apply: Apply, deadline: Deadline) -> Versioned:
        """Replaces a value by what `apply` makes of it; that, and its version.

        Raises what `apply` raises, `Unavailable`, and `Unknown`, each what is true of this update. `apply` is called
        once for each try, between those of others. Whoever is cancelled leaves the others alone.
        """
        line = self._line(namespace, key)
        answer = asyncio.get_running_loop().create_future()
        update = _Update(apply, copy_context(), deadline, line.operations, answer)
        line.waiting.append(update)
        if line.task is None:
            # Of no request: it goes on when that of its first caller has ended.
            line.task = asyncio.create_task(self._serve(line), context=Context())
        limit = asyncio.timeout(deadline.remaining_s)
        try:
            async with limit:
                found = await answer
        except TimeoutError:
            raise _failure(f"{line} was busy until the deadline", sent=update.sent) from None
        self._counts.updates += 1
        match found:
            case Versioned():
                return found
            case _Raised(error):
                raise error
            case failure:
                raise failure

    def statistics(self) -> CombiningStatistics:
        counts = self._counts
        return CombiningStatistics(
            len(self._lines), counts.updates, counts.changes, counts.conflicts, counts.reads
        )

    async def close(self) -> None:
        """Stops at once. Who waits is told `Unavailable` or `Unknown`, each what is true of it."""
        tasks = [line.task for line in self._lines.values() if line.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _line(self, namespace: str, key: str) -> _Line:
        line = self._lines.get((namespace, key))
        if line is None:
            if len(self._lines) >= KEPT:
                resting = [name for name, other in self._lines.items() if other.task is None]
                for name in resting[:1]:
                    del self._lines[name]
            line = self._lines[namespace, key] = _Line(namespace, key)
        self._lines.move_to_end((namespace, key))
        return line

    async def _serve(self, line: _Line) -> None:
        """Works until nobody waits."""
        try:
            while batch := line.batch():
                try:
                    await self._try(line, batch)
                except StrongError as error:
                    line.basis = None
                    for update in batch:
                        update.sent = update.sent and isinstance(error, Unknown)
                        update.fail(str(error))
        finally:
            line.task = None
            for update in line.waiting:
                update.fail(f"{line}: this process's work on it was ended")

    async def _try(self, line: _Line, batch: Sequence[_Update]) -> None:
        """One operation: a read where no value is at hand, or one that is good enough, else a change."""
        basis = line.basis
        if basis is None:
            await self._read(line, batch)
            return
        combined = _combine(None if basis.found is None else basis.found.value, batch)
        if combined.changes:
            await self._write(line, basis, combined)
        elif basis.is_news_to(batch):
            combined.settle(0 if basis.found is None else basis.found.version)
        else:
            await self._read(line, batch)

    async def _read(self, line: _Line, batch: Sequence[_Update]) -> None:
        self._counts.reads += 1
        line.operations += 1
        operation = line.operations
        found = await self._backend.get(line.namespace, line.key, timeout_s=_left(batch))
        line.basis = _Basis(found, operation)

    async def _write(self, line: _Line, basis: _Basis, combined: _Combined) -> None:
        assert combined.value is not None
        expect = ABSENT if basis.found is None else basis.found.version
        change = Change(expect, combined.value, uuid.uuid4().hex, combined.changes, self._name)
        sharing = [made.update for made in combined.made if made.changed]
        line.operations += 1
        operation = line.operations
        for update in sharing:
            update.sent = True
        outcome = await settled(self._backend, line.namespace, line.key, change, lambda: _left(sharing))
        if isinstance(outcome, Committed):
            self._counts.changes += 1
            line.basis = _Basis(Versioned(outcome.version, combined.value), operation)
            combined.settle(outcome.version)
        else:
            self._counts.conflicts += 1
            line.basis = _Basis(outcome.current, 0)
            for update in sharing:
                update.sent = False


async def settled(
    backend: StrongBackend, namespace: str, key: str, change: Change, left_s: Callable[[], float]
) -> Outcome:
    """The outcome; one that got lost is asked for once more, under the same operation id, while there is time."""
    try:
        return await backend.change(namespace, key, change, timeout_s=left_s())
    except Unknown as unknown:
        if not (left := left_s()):
            raise
        try:
            return await backend.change(namespace, key, change, timeout_s=left)
        except Unavailable:
            raise unknown from None


def _left(updates: Iterable[_Update]) -> float:
    """Of those who still wait, the most patient one's."""
    return max((update.deadline.remaining_s for update in updates if not update.answer.done()), default=0.0)


def _failure(why: str, *, sent: bool) -> StrongError:
    if sent:
        return Unknown(f"{why}. The update may have been made: read the value before it is tried again")
    return Unavailable(f"{why}. Nothing was done; try again")
