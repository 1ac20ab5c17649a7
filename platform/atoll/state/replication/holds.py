"""Which streams stand still while a transfer goes on, and until what it left owed is brought."""

from collections import Counter
from dataclasses import dataclass

from atoll.state.vector import NOTHING, Actor, Vector


@dataclass(frozen=True, slots=True)
class HoldStatistics:
    """A snapshot."""

    held: tuple[Actor, ...]
    """Of a transfer that goes on."""
    owed: tuple[Actor, ...]


class Holds:
    """What may be applied now. No I/O.

    An actor is held as long as the own vector is behind the vector of a transfer there: the transfer, not the stream,
    brings what lies between. An actor that is further is free.
    """

    __slots__ = ("_busy", "_owed", "_until")

    def __init__(self) -> None:
        self._until = NOTHING
        self._owed = NOTHING
        self._busy: Counter[Actor] = Counter()

    def free(self, actor: Actor, own: Vector) -> bool:
        """Whether the actor's stream may go on, when this is the own vector."""
        known = own.seq(actor)
        return known >= self._until.seq(actor) and known >= self._owed.seq(actor)

    def begin(self, vector: Vector) -> None:
        """A transfer begins: it brings all that `vector` covers."""
        self._until = vector

    def end(self) -> None:
        """The transfer has ended, well or not."""
        self._until = NOTHING

    def owe(self, owed: Vector) -> None:
        """What transfers that have ended left owed (`Coverage.owed`)."""
        self._owed = owed

    def applying(self, actor: Actor) -> None:
        """The store is being told to apply a batch of the actor."""
        self._busy[actor] += 1

    def applied(self, actor: Actor) -> None:
        """It has answered."""
        self._busy[actor] -= 1

    def quiet(self, own: Vector) -> bool:
        """Whether nothing that is held is being applied."""
        return all(not busy or self.free(actor, own) for actor, busy in self._busy.items())

    def statistics(self, own: Vector) -> HoldStatistics:
        return HoldStatistics(
            held=tuple(sorted(own.missing(self._until))),
            owed=tuple(sorted(own.missing(self._owed))),
        )
