"""When a store that began empty has all that it should have."""

from dataclasses import dataclass

from atoll.state.replication.membership import Membership


@dataclass(frozen=True, slots=True)
class BootstrapStatistics:
    """A snapshot."""

    complete: bool
    missing: tuple[str, ...]
    """Regions one of which must still be transferred from."""


class Bootstrap:
    """A namespace is complete here once a complete holder of it was transferred from; or all its other holders were,
    which is how a deployment begins: everybody is empty, and nobody can know that he alone has lost a disk.
    """

    __slots__ = ("_complete", "_membership", "_region", "_taken")

    def __init__(self, region: str, membership: Membership, *, complete: bool) -> None:
        self._region = region
        self._membership = membership
        self._complete = complete
        self._taken: dict[str, bool] = {}
        self._complete = not self.missing()

    @property
    def complete(self) -> bool:
        """Once it is, it stays so, whoever joins."""
        return self._complete

    def use(self, membership: Membership) -> None:
        """Takes up another membership."""
        self._membership = membership
        self._complete = not self.missing()

    def taken(self, peer: str, *, complete: bool) -> None:
        """A transfer from `peer` has ended well; `complete` is what the peer said of itself."""
        self._taken[peer] = complete
        self._complete = not self.missing()

    def missing(self) -> frozenset[str]:
        """Those from whom a transfer would help; empty once nobody is needed."""
        if self._complete:
            return frozenset()
        others = self._membership.others(self._region)
        needed: set[str] = set()
        for namespace in self._membership.of(self._region):
            holders = {peer for peer in others if namespace in self._membership.of(peer)}
            if not any(self._taken.get(peer) for peer in holders):
                needed |= holders - self._taken.keys()
        return frozenset(needed)

    def statistics(self) -> BootstrapStatistics:
        return BootstrapStatistics(self.complete, tuple(sorted(self.missing())))
