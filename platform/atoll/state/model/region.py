"""Whose store this is, in which epoch, and what it knows: what all its functions stand on (`library/region.lua`)."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from atoll.clock import Clock
from atoll.state.envelope import Envelope
from atoll.state.errors import Refusal, StoreRefused
from atoll.state.model.disk import Disk
from atoll.state.model.history import History
from atoll.state.operation import Operation, encode
from atoll.state.stamp import Stamp, successor, wall_ms
from atoll.state.store import CellKey, LogEntry
from atoll.state.types import awset
from atoll.state.types.awset import Dots
from atoll.state.types.counter import Tally
from atoll.state.vector import Actor, Dot, region_of

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Region")


def command(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that changes the disk: it looks at the clock once, and can be undone by `ModelStore.lose_tail`.

    Methods refuse before they change anything, so one that raises has changed nothing.
    """

    @wraps(method)
    def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        self._now_ms = wall_ms(self._clock)
        self._history.before(self._state)
        result = method(self, *args, **kwargs)
        self._history.after(self._now_ms, lambda: method(self, *args, **kwargs))
        return result

    return run


class Region:
    """A store's disk and its clock."""

    def __init__(self, clock: Clock, *, history: int = 0) -> None:
        self._clock = clock
        self._now_ms = 0
        self._state = Disk()
        self._open = False
        """Whether it was opened since its server started."""
        self._history: History[Disk] = History(history, Disk.copy)

    def _must_be_open(self) -> None:
        if not self._open:
            raise StoreRefused(
                Refusal.CLOSED,
                "it has not been opened since its server started; its agent opens it when it comes up",
            )

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
