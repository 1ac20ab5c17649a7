"""Who the regions are, and who may hold what."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from atoll.state.vector import Actor, region_of


@dataclass(frozen=True, slots=True)
class Membership:
    """The member regions, and the namespaces that each of them may hold (those with an own log alone: no `strong`)."""

    holds: Mapping[str, frozenset[str]]

    @property
    def members(self) -> frozenset[str]:
        return frozenset(self.holds)

    @property
    def digest(self) -> str:
        """Equal for equal memberships. Two regions whose digests differ are in the middle of a change."""
        told = ";".join(f"{region}={','.join(sorted(names))}" for region, names in sorted(self.holds.items()))
        return sha256(told.encode()).hexdigest()[:16]

    def of(self, region: str) -> frozenset[str]:
        """What a region may hold; nothing if it is no member."""
        return self.holds.get(region, frozenset())

    def shared(self, a: str, b: str) -> frozenset[str]:
        """What both may hold."""
        return self.of(a) & self.of(b)

    def vouches(self, peer: str, actor: Actor, region: str) -> bool:
        """Whether `peer` may hold all that `region` may hold of what `actor` writes: only then says the peer's vector
        what `region` would get from it.
        """
        origin = region_of(actor)
        mine = self.shared(origin, region) if origin in self.holds else self.of(region)
        return mine <= self.of(peer)

    def others(self, region: str) -> frozenset[str]:
        return self.members - {region}
