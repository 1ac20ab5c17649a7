"""When to transfer, and from whom: the log alone has not brought something, or can't.

- A peer's log has no more what follows our cursor (*gap*).
- A transfer left something *owed* that only another peer brings.
- A peer's vector stays *ahead* of ours on an actor while we don't move there: the actor's region is dead or cut off, or
  it (or we) lost a tail of its log. Also if an operation has waited so long for one that nobody sends.
- Digests *differ* though both sides know the same.
- The store is *incomplete*: it began empty.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from atoll.clock import Clock
from atoll.state.replication.settings import ReplicationSettings
from atoll.state.vector import NOTHING, Actor, Vector


class Reason(IntEnum):
    """Why a transfer is needed; the smaller one first."""

    INCOMPLETE = 1
    OWED = 2
    GAP = 3
    AHEAD = 4
    DIFFERS = 5


@dataclass(frozen=True, slots=True)
class Need:
    """A transfer that is due."""

    peer: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class WatchStatistics:
    """A snapshot; counters since this process started."""

    transfers: dict[str, int]
    """That ended well, by reason."""
    failed: int
    mismatches: int
    """Comparisons of digests that found a difference."""


@dataclass(slots=True)
class _Behind:
    """An actor on which some peer is ahead."""

    known: int
    """Ours, when the clock was last set."""
    since: float


class Watch:
    """What was seen, and what is due. No I/O.

    `vouches(peer, actor)` says whether a peer may hold all that we share with the actor's region.
    """

    def __init__(
        self, clock: Clock, settings: ReplicationSettings, vouches: Callable[[str, Actor], bool]
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._vouches = vouches
        self._gaps: set[str] = set()
        self._differs: set[str] = set()
        self._behind: dict[Actor, _Behind] = {}
        self._rests_until = 0.0
        self._avoid: dict[str, float] = {}
        self._taken: dict[str, Vector] = {}
        self._transfers: dict[str, int] = {reason.name.lower(): 0 for reason in Reason}
        self._failed = 0
        self._mismatches = 0

    # What was seen

    def begin(self) -> None:
        """The store was lost, and is there again: it may have gone back. Repairs that were asked for are still due."""
        self._gaps.clear()
        self._behind.clear()
        self._taken.clear()

    def gap(self, peer: str) -> None:
        """The peer's log has no more what we need."""
        self._gaps.add(peer)

    def differs(self, peer: str) -> None:
        """The peer's digests differ from ours for good."""
        self._mismatches += 1
        self._differs.add(peer)

    def mends(self, peer: str) -> bool:
        """Whether a difference from the peer waits for a transfer."""
        return peer in self._differs

    def ended(self, need: Need, vector: Vector, seconds: float) -> None:
        """A transfer has ended well, after so long; it brought all that the peer knew at `vector`."""
        self._taken[need.peer] = vector
        self._transfers[need.reason.name.lower()] += 1
        self._gaps.discard(need.peer)
        self._differs.discard(need.peer)
        if need.reason in {Reason.AHEAD, Reason.DIFFERS}:
            self._rests_until = self._clock.monotonic() + self._settings.transfer_rest * seconds

    def failed(self, need: Need) -> None:
        """A transfer has broken off. Others are tried first for a moment."""
        self._failed += 1
        self._avoid[need.peer] = self._clock.monotonic() + self._settings.reconnect_most_s

    # What is due

    def due(
        self,
        own: Vector,
        peers: Mapping[str, Vector],
        reachable: Sequence[str],
        lacking: Vector,
        helps: Callable[[str, Actor, int], bool],
        missing: Collection[str],
    ) -> Need | None:
        """The next transfer; None: nothing is due.

        `peers` are vectors of peers as heard in their logs; `reachable` peers whose connections are up, best first;
        `lacking` and `helps` are what `Coverage` says; `missing` those one of whom must be transferred from before this
        store is complete.
        """
        now = self._clock.monotonic()
        self._look(own, peers, now)
        usable = [peer for peer in reachable if self._avoid.get(peer, 0.0) <= now]
        for peer in usable:
            if peer in missing:
                return Need(peer, Reason.INCOMPLETE)
        for peer in usable:
            vector = peers.get(peer, NOTHING)
            for actor in lacking:
                if helps(peer, actor, vector.seq(actor)):
                    return Need(peer, Reason.OWED)
        for peer in usable:
            if peer in self._gaps:
                return Need(peer, Reason.GAP)
        if now < self._rests_until:
            return None
        ahead = self._ahead(own, peers, usable, now)
        if ahead is not None:
            return Need(ahead, Reason.AHEAD)
        for peer in usable:
            if peer in self._differs:
                return Need(peer, Reason.DIFFERS)
        return None

    def statistics(self) -> WatchStatistics:
        return WatchStatistics(dict(self._transfers), self._failed, self._mismatches)

    def _look(self, own: Vector, peers: Mapping[str, Vector], now: float) -> None:
        ahead = {actor for vector in peers.values() for actor in own.missing(vector)}
        for actor in ahead:
            known = own.seq(actor)
            seen = self._behind.get(actor)
            if seen is None or seen.known != known:
                self._behind[actor] = _Behind(known, now)
        for actor in self._behind.keys() - ahead:
            del self._behind[actor]

    def _ahead(
        self, own: Vector, peers: Mapping[str, Vector], usable: Collection[str], now: float
    ) -> str | None:
        """The peer that brings us furthest on the actors on which we have not moved for too long."""
        limit = now - self._settings.ahead_s
        stuck = [actor for actor, seen in self._behind.items() if seen.since <= limit]

        def gain(peer: str) -> tuple[int, int]:
            """By how many operations the peer alone would raise our vector; and on how many actors it has news.

            What it can't vouch for is merged all the same, but once: it doesn't raise the vector.
            """
            vector, taken = peers.get(peer, NOTHING), self._taken.get(peer, NOTHING)
            ahead = [actor for actor in stuck if vector.seq(actor) > own.seq(actor)]
            return (
                sum(vector.seq(actor) - own.seq(actor) for actor in ahead if self._vouches(peer, actor)),
                sum(vector.seq(actor) > taken.seq(actor) for actor in ahead),
            )

        best = max(usable, key=gain, default=None)
        return best if best is not None and gain(best) > (0, 0) else None
