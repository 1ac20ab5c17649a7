"""What every member has, so that nothing older can be on its way: tombstones up to there may go.

A member says in its *own log* what it has applied (heartbeats). Whoever has applied such a heartbeat has applied all
that this member wrote before it, so a write that the member made without knowing a tombstone cannot come any more.
(Causal stability: Baquero, Almeida and Shoker, "Making operation-based CRDTs operation-based", 2014; that tombstones
must wait for all members: Almeida et al., "Delta state replicated data types", 2018.)
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from atoll.clock import Clock
from atoll.state.vector import NOTHING, Vector


@dataclass(frozen=True, slots=True)
class StabilityStatistics:
    """A snapshot."""

    stable: Vector
    silent_s: dict[str, float]
    """For how long nothing came from each member's agent."""
    fenced: tuple[str, ...]


class Stability:
    """The members' vectors, and who of them was silent for too long.

    A member that is fenced does not count. It may lack removals that were collected without it, so nobody hears it, or
    sends it the log, before it has transferred. It counts again from the moment when it begins to: nothing more is
    collected without it. What it wrote while it was fenced is kept, and may be older than a removal that is gone.
    """

    __slots__ = ("_clock", "_fence_s", "_fenced", "_heard", "_members", "_region", "_returning", "_vectors")

    def __init__(self, clock: Clock, region: str, members: Collection[str], fence_s: float) -> None:
        self._clock = clock
        self._region = region
        self._fence_s = fence_s
        self._vectors: dict[str, Vector] = {}
        self._heard: dict[str, float] = {}
        self._fenced: set[str] = set()
        self._returning: dict[str, float] = {}
        """Fenced members that transfer from here, and since when."""
        self._members: frozenset[str] = frozenset()
        self.use(members)

    def use(self, members: Collection[str]) -> None:
        """Takes up another membership. A new member keeps everything from being stable until it is heard."""
        now = self._clock.monotonic()
        self._members = frozenset(members) - {self._region}
        self._heard = {member: self._heard.get(member, now) for member in self._members}
        self._fenced &= self._members
        for known in (self._vectors, self._returning):
            for gone in known.keys() - self._members:
                del known[gone]

    def heard(self, vectors: Mapping[str, Vector]) -> None:
        """The vector of each peer's last heartbeat that has been applied here."""
        for member in self._members:
            self._vectors[member] = vectors.get(member, NOTHING)

    def contact(self, member: str) -> None:
        """Something came from the member's agent. Only who is not heard of at all is silent: one whose operations can't
        be applied, because a clock is off, is not.
        """
        if member in self._heard:
            self._heard[member] = self._clock.monotonic()

    def fenced(self) -> frozenset[str]:
        """Members that were silent for too long and have not transferred since.

        Nobody is fenced while less than a majority is heard: then it is this region that is cut off, and if it dropped
        removals alone, what the others wrote meanwhile would survive them.
        """
        limit = self._clock.monotonic() - self._fence_s
        silent = {member for member in self._members if self._heard[member] < limit}
        if 2 * (len(self._members) + 1 - len(silent)) > len(self._members) + 1:
            self._fenced |= silent
        return frozenset(self._fenced)

    def returns(self, member: str) -> None:
        """The member begins to transfer from here."""
        if member in self.fenced():
            self._returning[member] = self._clock.monotonic()

    def returned(self, member: str) -> None:
        """The member has transferred from here: it knows all that was collected without it."""
        if self._returning.pop(member, None) is not None:
            self._fenced.discard(member)
            self.contact(member)

    def stable(self, own: Vector) -> Vector:
        """What this region and every member that counts has applied."""
        limit = self._clock.monotonic() - self._fence_s
        returning = {member for member, since in self._returning.items() if since >= limit}
        stable = own
        for member in self._members - (self.fenced() - returning):
            stable = stable.meet(self._vectors.get(member, NOTHING))
        return stable

    def statistics(self, own: Vector) -> StabilityStatistics:
        now = self._clock.monotonic()
        return StabilityStatistics(
            stable=self.stable(own),
            silent_s={member: now - heard for member, heard in sorted(self._heard.items())},
            fenced=tuple(sorted(self.fenced())),
        )
