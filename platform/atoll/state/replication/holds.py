"""Which streams stand still while a transfer goes on, and until somebody vouches for what it left owed."""

from collections import Counter
from dataclasses import dataclass

from atoll.state.vector import NOTHING, Actor, Vector, region_of


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
        """A transfer has ended well. This is what it could not vouch for."""
        self._owed = self._owed.join(owed)

    def forgive(self, region: str) -> None:
        """Nothing of this region is owed any more: it was transferred from itself, or is no member."""
        self._owed = Vector({actor: seq for actor, seq in self._owed.items() if region_of(actor) != region})

    def owed(self, own: Vector) -> Vector:
        """What is still owed: only a transfer brings it."""
        return own.missing(self._owed)

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
