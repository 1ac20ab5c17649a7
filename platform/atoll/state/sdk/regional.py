"""The region's state as one process sees it: the store, and the waits that guarantees need."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from atoll.clock import Clock
from atoll.resilience.deadline import Deadline
from atoll.state.errors import StateError
from atoll.state.sdk.combining import Combining
from atoll.state.sdk.following import Acknowledgements, Follow, Following
from atoll.state.sdk.waits import Waits
from atoll.state.session import Session, kept
from atoll.state.stamp import wall_ms
from atoll.state.store import PeerState, Store, WriteResult
from atoll.state.strong.backend import StrongBackend
from atoll.state.vector import NOTHING, Actor, Dot, Vector, region_of
from atoll.state.wiring import NamespaceWiring
from atoll.topology import Behind, DataType, Durability, Level

WAIT_FLOOR_S = 0.15
"""A session waits at least this long for its region to catch up."""
WAIT_LAG_FACTOR = 1.5
"""And this often the lag of the slowest link that it waits for."""
REMOTE_WAIT_S = 5.0
"""How long a write waits for another region to have it, if its request has no deadline."""
PEERS_FRESH_S = 0.25
"""Heartbeats come that often, so what they said is not asked for more often."""


class UnknownNamespace(StateError):
    """The topology has no such namespace, or it may not hold this type, or its data is not in this region."""


class RegionBehind(StateError):
    """This region has not caught up with what the client has seen, or with the namespace's bound, within the wait."""

    def __init__(self, detail: str, *, elsewhere: bool) -> None:
        super().__init__(detail)
        self.elsewhere = elsewhere
        """Whether another region is to be asked, as the namespace says."""


class NotRemote(StateError):
    """The write is on disk in this region and will reach the others, but none has confirmed it in time."""


@dataclass(frozen=True, slots=True)
class Staleness:
    """How old what this region shows may be."""

    seconds: Mapping[str, float]
    """By the region whose writes it is about; infinite for one that was never heard."""

    @property
    def worst_s(self) -> float:
        return max(self.seconds.values(), default=0.0)


class RegionalState:
    """One a process. It asks nothing of the store that an operation doesn't need, and starts tasks when they are."""

    def __init__(
        self,
        region: str,
        namespaces: Mapping[str, NamespaceWiring],
        store: Store,
        follow: Follow,
        strong: StrongBackend,
        clock: Clock,
        chance: Random,
    ) -> None:
        self.region = region
        self.store = store
        self.strong = strong
        self.combining = Combining(strong)
        self.clock = clock
        self.chance = chance
        self._namespaces = namespaces
        self._following = Following(region, follow, chance)
        self._acknowledgements = Acknowledgements(store, chance)
        self._peers: Mapping[str, PeerState] = {}
        self._peers_at = float("-inf")
        self._stable = NOTHING
        self._waits = Waits(store.note_waits)

    def use(self, namespaces: Mapping[str, NamespaceWiring]) -> None:
        """Takes up another topology."""
        self._namespaces = namespaces

    def namespace(self, name: str, kind: DataType) -> NamespaceWiring:
        """What is promised of a namespace. Raises `UnknownNamespace` unless it can be used here for this type."""
        found = self.holding(name)
        if found.level is Level.STRONG:
            raise UnknownNamespace(f"{name} is of level strong: use state.strong({name!r})")
        if kind not in found.types:
            held = ", ".join(found.types)
            raise UnknownNamespace(
                f"the namespace {name} holds no {kind}, but: {held} (its `types` in the topology)"
            )
        return found

    def holding(self, name: str) -> NamespaceWiring:
        """A namespace whose data is in this region. Raises `UnknownNamespace`."""
        found = self._known(name)
        if self.region not in found.holders:
            raise UnknownNamespace(
                f"the data of {name} is not in {self.region}, but in: {', '.join(found.holders)}; name it in the "
                "`namespaces` of the service in the topology, so that requests go there"
            )
        return found

    def strong_namespace(self, name: str) -> NamespaceWiring:
        """What is promised of a strong namespace, wherever its acceptors are. Raises `UnknownNamespace`."""
        found = self._known(name)
        if found.level is not Level.STRONG:
            raise UnknownNamespace(f"{name} is of level {found.level}: use state.namespace({name!r})")
        return found

    async def catch_up(
        self, name: str, wiring: NamespaceWiring, session: Session, deadline: Deadline | None
    ) -> bool:
        """Returns when this region has all that the session needs, and is within the namespace's bound.

        False: it is not, but the namespace wants such answers marked. Otherwise raises `RegionBehind`.
        """
        if wiring.level is Level.SESSION and session.needs():
            lacking = await self._wait(session, deadline)
            if lacking:
                return _behind(
                    wiring, f"{self.region} lacks {_told(lacking)} of what this client has seen in {name}"
                )
        if wiring.max_staleness_s is not None:
            staleness = await self.staleness(wiring)
            if staleness.worst_s > wiring.max_staleness_s:
                oldest = max(staleness.seconds, key=staleness.seconds.__getitem__)
                return _behind(
                    wiring,
                    f"what {self.region} knows of {oldest} is {staleness.worst_s:.1f} s old; "
                    f"{name} allows {wiring.max_staleness_s:g} s",
                )
        return True

    async def secure(
        self, name: str, wiring: NamespaceWiring, written: WriteResult, deadline: Deadline | None
    ) -> None:
        """Returns when a write is as durable as its namespace says. Raises `NotRemote`."""
        if wiring.durability is not Durability.REMOTE:
            return
        others = [region for region in wiring.holders if region != self.region]
        within_s = REMOTE_WAIT_S if deadline is None else deadline.remaining_s
        if not await self._acknowledgements.reached(written.dot, others, within_s):
            raise NotRemote(
                f"the write {written.dot} to {name} is on disk in {self.region}, but none of {', '.join(others)} has "
                f"confirmed it within {within_s:.1f} s; it is not lost unless this region's disk is: read it back"
            )

    async def staleness(self, wiring: NamespaceWiring) -> Staleness:
        """How old what this region knows of each other holder may be; clock differences are in it."""
        now_ms = wall_ms(self.clock)
        peers = await self.peers()
        return Staleness(
            {
                holder: (now_ms - peers[holder].wall_ms) / 1000 if holder in peers else float("inf")
                for holder in wiring.holders
                if holder != self.region
            }
        )

    @property
    def actor(self) -> Actor | None:
        """As whom this region writes, if that was heard lately."""
        return self._following.actor

    async def stable(self) -> Vector:
        """What every region that holds anything knows, by their heartbeats: a session need not remember it.

        While the store can't be asked: what was known to be so before, for it stays so.
        """
        try:
            peers = await self.peers()
        except StateError:
            return self._stable
        others = {holder for wiring in self._namespaces.values() for holder in wiring.holders} - {self.region}
        if others <= peers.keys():
            stable = self._following.known
            for other in others:
                stable = stable.meet(peers[other].vector)
            self._stable = self._stable.join(stable)
        return self._stable

    async def peers(self) -> Mapping[str, PeerState]:
        """The last heartbeat of each other region, at most `PEERS_FRESH_S` ago."""
        now = self.clock.monotonic()
        if now - self._peers_at > PEERS_FRESH_S:
            self._peers = await self.store.peers()
            self._peers_at = now
        return self._peers

    async def close(self) -> None:
        """Ends its tasks; the store is its owner's to close."""
        await self.combining.close()
        await self._following.close()
        await self._acknowledgements.close()
        await self._waits.close()

    def _known(self, name: str) -> NamespaceWiring:
        found = self._namespaces.get(name)
        if found is None:
            known = ", ".join(sorted(self._namespaces)) or "none"
            raise UnknownNamespace(f"the topology has no namespace {name!r}; it has: {known}")
        return found

    async def _wait(self, session: Session, deadline: Deadline | None) -> Vector:
        """What is still lacking after the wait. What is lost the session needs no more."""
        lacking = await self._following.reached(session.needs(), 0.0)
        if not lacking:
            return NOTHING
        began = self.clock.monotonic()
        lacking = await self._wait_for(lacking, session, deadline)
        self._waits.add(self.clock.monotonic() - began, behind=bool(lacking))
        return lacking

    async def _wait_for(self, lacking: Vector, session: Session, deadline: Deadline | None) -> Vector:
        # Not what is remembered: who is kept out of the store learns it here.
        peers = await self.store.peers()
        regions = {region_of(actor) for actor in lacking}
        lags = (peers[region].applied_ms - peers[region].wall_ms for region in regions if region in peers)
        within_s = max(WAIT_FLOOR_S, WAIT_LAG_FACTOR * max(itertools.chain(lags, (0,))) / 1000)
        if deadline is not None:
            within_s = min(within_s, deadline.remaining_s)
        lacking = await self._following.reached(session.needs(), within_s)
        if not lacking:
            return NOTHING
        peers = await self.store.peers()
        for actor, seq in lacking.items():
            heard = (peers.get(region) for region in self._bringing(region_of(actor)))
            said = [self._following.known, *(NOTHING if peer is None else peer.vector for peer in heard)]
            session.forget(kept(Dot(actor, seq), said))
        return await self._following.reached(session.needs(), 0.0)

    def _bringing(self, origin: str) -> frozenset[str]:
        """Other regions that may have all of what `origin` writes and this region may hold."""
        shared = [
            frozenset(wiring.holders)
            for wiring in self._namespaces.values()
            if {origin, self.region} <= set(wiring.holders)
        ]
        return frozenset.intersection(*shared) - {self.region} if shared else frozenset()


def _behind(wiring: NamespaceWiring, detail: str) -> bool:
    if wiring.behind is Behind.MARK:
        return False
    raise RegionBehind(f"{detail}; try again", elsewhere=wiring.behind is Behind.ELSEWHERE)


def _told(vector: Vector) -> str:
    regions = sorted({region_of(actor) for actor in vector})
    return f"the newest writes of {', '.join(regions)}"
