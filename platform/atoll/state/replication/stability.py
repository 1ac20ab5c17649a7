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

    A member that is fenced does not count. What it wrote meanwhile may be older than removals that were collected
    without it, so nobody hears it, or sends it the log, before it knows all that was collected: it must transfer. From
    the moment when it begins to, it counts again, and nothing more is collected without it.
    """

    __slots__ = ("_clock", "_fence_s", "_floors", "_heard", "_members", "_region", "_returning", "_vectors")

    def __init__(self, clock: Clock, region: str, members: Collection[str], fence_s: float) -> None:
        self._clock = clock
        self._region = region
        self._fence_s = fence_s
        self._vectors: dict[str, Vector] = {}
        self._heard: dict[str, float] = {}
        self._floors: dict[str, Vector] = {}
        """Of each fenced member: what was stable without it when removals were last collected."""
        self._returning: dict[str, float] = {}
        """Fenced members that transfer from here, and since when."""
        self._members: frozenset[str] = frozenset()
        self.use(members)

    def use(self, members: Collection[str]) -> None:
        """Takes up another membership. A new member keeps everything from being stable until it is heard."""
        now = self._clock.monotonic()
        self._members = frozenset(members) - {self._region}
        self._heard = {member: self._heard.get(member, now) for member in self._members}
        for known in (self._vectors, self._floors, self._returning):
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
        """Members that were silent for too long and have not caught up since.

        Nobody is fenced while less than a majority is heard: then it is this region that is cut off, and if it dropped
        removals alone, what the others wrote meanwhile would survive them.
        """
        limit = self._clock.monotonic() - self._fence_s
        silent = {member for member in self._members if self._heard[member] < limit}
        if 2 * (len(self._members) + 1 - len(silent)) > len(self._members) + 1:
            for member in silent - self._floors.keys():
                self._floors[member] = NOTHING
        return frozenset(self._floors)

    def collected(self, stable: Vector) -> None:
        """Removals that `stable` covers were collected, here or elsewhere."""
        for member in self.fenced() - self._returned():
            self._floors[member] = self._floors[member].join(stable)

    def returns(self, member: str) -> None:
        """The member begins to transfer from here."""
        if member in self.fenced():
            self._returning[member] = self._clock.monotonic()

    def admit(self, member: str, vector: Vector) -> bool:
        """Whether a member that says its vector may be sent the log, and heard."""
        if member not in self.fenced():
            return True
        if not self._floors[member] <= vector:
            return False
        del self._floors[member]
        self._returning.pop(member, None)
        self._heard[member] = self._clock.monotonic()
        return True

    def stable(self, own: Vector) -> Vector:
        """What this region and every member that counts has applied."""
        stable = own
        for member in self._members - (self.fenced() - self._returned()):
            stable = stable.meet(self._vectors.get(member, NOTHING))
        return stable

    def statistics(self, own: Vector) -> StabilityStatistics:
        now = self._clock.monotonic()
        return StabilityStatistics(
            stable=self.stable(own),
            silent_s={member: now - heard for member, heard in sorted(self._heard.items())},
            fenced=tuple(sorted(self.fenced())),
        )

    def _returned(self) -> frozenset[str]:
        """Fenced members that count again. One that doesn't get through in time is given up once more."""
        limit = self._clock.monotonic() - self._fence_s
        return frozenset(member for member, since in self._returning.items() if since >= limit)
