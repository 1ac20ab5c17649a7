"""What transfers together allow this region to claim that it knows.

A peer brings only the namespaces that it may hold. An actor's operations up to a number are known here once transfers
have brought *every* namespace of that actor that belongs here up to that number. Until then streams stay held: they
could bring what was deleted meanwhile. The vector is raised in one step when all is there; a part of it, if nobody who
is reachable can bring the rest.
"""

from atoll.state.replication.membership import Membership
from atoll.state.stamp import ZERO, Stamp
from atoll.state.vector import NOTHING, Actor, Vector, region_of


class Coverage:
    """By namespace, how far transfers have brought each actor. No I/O."""

    __slots__ = ("_brought", "_membership", "_region", "_seen", "_taken", "stamp")

    def __init__(self, region: str, membership: Membership) -> None:
        self._region = region
        self._membership = membership
        self._brought: dict[str, Vector] = {}
        self._seen = NOTHING
        """All that peers knew when they were transferred from."""
        self._taken: set[str] = set()
        self.stamp: Stamp = ZERO
        """No removal that was collected where transfers came from is later."""

    def use(self, membership: Membership) -> None:
        """Takes up another membership. What was seen of regions that are no members is owed no more."""
        for gone in self._membership.members - membership.members:
            self._forget(gone, NOTHING)
        self._membership = membership

    def taken(self, peer: str, vector: Vector, stamp: Stamp) -> None:
        """A transfer has brought all that `peer` may hold, as of `vector`; `stamp` was its clock then."""
        self._taken.add(peer)
        self._seen = self._seen.join(vector)
        self.stamp = max(self.stamp, stamp)
        for namespace in self._membership.shared(self._region, peer):
            self._brought[namespace] = self.brought(namespace).join(vector)
        self._forget(peer, self.claim())

    def brought(self, namespace: str) -> Vector:
        """How far transfers have brought each actor's part of a namespace."""
        return self._brought.get(namespace, NOTHING)

    def claim(self) -> Vector:
        """What is known here, if nothing more is brought."""
        return Vector({actor: self._claim(actor) for actor in self._seen})

    def lacking(self, own: Vector) -> Vector:
        """What peers knew, is not in the own vector, and may not be claimed yet."""
        return self.claim().join(own).missing(self._seen)

    def owed(self, own: Vector) -> Vector:
        """What peers knew, and is not in the own vector yet: streams are held up to there."""
        return own.missing(self._seen)

    def helps(self, peer: str, actor: Actor, knows: int) -> bool:
        """Whether a transfer from `peer`, which knows the actor up to `knows`, brings something of what is lacking."""
        if peer == region_of(actor):
            return True
        new = peer not in self._taken and region_of(actor) == self._region
        return any(
            new or knows > self.brought(namespace).seq(actor)
            for namespace in self._needed(actor) & self._membership.of(peer)
        )

    def _needed(self, actor: Actor) -> frozenset[str]:
        """Namespaces of the actor that belong here and that somebody can bring."""
        origin = region_of(actor)
        known = origin != self._region and origin in self._membership.members
        mine = self._membership.shared(origin, self._region) if known else self._membership.of(self._region)
        return frozenset(namespace for namespace in mine if self._holders(namespace))

    def _holders(self, namespace: str) -> frozenset[str]:
        others = self._membership.others(self._region)
        return frozenset(peer for peer in others if namespace in self._membership.of(peer))

    def _claim(self, actor: Actor) -> int:
        seen = self._seen.seq(actor)
        own = region_of(actor) == self._region
        for namespace in self._needed(actor):
            if own and self._holders(namespace) <= self._taken:
                continue  # of this region's own past, what no holder has is lost
            seen = min(seen, self.brought(namespace).seq(actor))
        return seen

    def _forget(self, region: str, claim: Vector) -> None:
        """What a region itself doesn't bring of its own operations nobody waits for: it has lost it."""
        self._seen = Vector(
            {
                actor: min(seq, claim.seq(actor)) if region_of(actor) == region else seq
                for actor, seq in self._seen.items()
            }
        )
