"""The gateways of other regions: probed all the time, and used over one pool of connections each.

The other gateways of the own region, its siblings, are probed too, for their load alone: requests are never sent there.

A peer's health comes from its answers to probes and from what happens to requests on the way to it. When a peer is
found to be down, every attempt that still waits for it is given up at once, so that it can be made elsewhere.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from atoll.clock import Clock
from atoll.resilience.health import PeerHealth
from atoll.resilience.outlier import Host, Hosts
from atoll.routing.slowness import Slowness
from atoll.topology import HealthPolicy, OutlierPolicy
from atoll.topology.wiring import PeerGateway
from atoll_gateway.headers import write_head
from atoll_gateway.peer_report import PEER_REPORT, PeerReport
from atoll_gateway.upstream import Upstream
from atoll_gateway.upstream_errors import Abandoned, ConnectRefused, UpstreamError

log = logging.getLogger("atoll.gateway.peers")

PROBES_AT_ONCE = 4
"""A peer that answers slowly has this many probes under way before one is left out."""


LOAD_FRESH_S = 3.0
"""A load that was heard longer ago than six reports is not known any more."""
LONGEST_LOAD = 20
"""Bytes of an ``Atoll-Load`` that can be one."""


@dataclass(slots=True)
class PeerLoad:
    """A service as a gateway told of it last: its own requests in flight, its region's capacity, and what its siblings
    have in flight.
    """

    in_flight: int
    capacity: int
    heard: float
    siblings: int = 0


class Peer(Host):
    """One gateway: of another region, or a sibling."""

    __slots__ = (
        "_group",
        "gateway",
        "health",
        "loads",
        "probes",
        "report",
        "slowness",
        "trusted",
        "upstream",
        "waiting",
    )

    def __init__(
        self,
        gateway: PeerGateway,
        upstream: Upstream,
        probes: Upstream,
        health: PeerHealth,
        slowness: Slowness,
        clock: Clock,
        group: "Hosts[Peer]",
    ) -> None:
        super().__init__(clock)
        self.slowness = slowness
        self.gateway = gateway
        self.upstream = upstream
        self.probes = probes
        """Connections of their own, so that a probe never waits behind requests."""
        self.health = health
        self.report: PeerReport | None = None
        self.loads: dict[str, PeerLoad] = {}
        """By service; from reports, and from ``Atoll-Load`` on responses."""
        self.waiting = 0
        """Probes under way."""
        self.trusted = False
        """Whether it was healthy when that was last looked at."""
        self._group = group

    def done(self) -> None:
        """A request that was sent here is over."""
        self._group.end(self)

    def told(self, service: str, load: bytes, now: float) -> None:
        """Takes in an ``Atoll-Load``: ``<in flight>/<capacity>``. Anything else is passed over."""
        in_flight, _, capacity = load.partition(b"/")
        if not (in_flight.isdigit() and capacity.isdigit() and len(load) <= LONGEST_LOAD):
            return
        known = self.loads.get(service)
        if known is None:
            self.loads[service] = PeerLoad(int(in_flight), int(capacity), now)
        else:
            known.in_flight, known.capacity, known.heard = int(in_flight), int(capacity), now


@dataclass(frozen=True, slots=True)
class PeerStatistics:
    """A peer as this gateway sees it."""

    region: str
    gateway: str
    healthy: bool
    reason: str
    since: float
    in_flight: int
    draining: bool
    transitions: int


class Peers:
    """All peers, and the tasks that watch them."""

    def __init__(
        self,
        gateways: Iterable[PeerGateway],
        connect: Callable[[PeerGateway], Upstream],
        clock: Clock,
        chance: random.Random,
        policy: HealthPolicy,
        changed: Callable[[], None],
        siblings: Iterable[PeerGateway] = (),
        outlier: OutlierPolicy | None = None,
        expected_s: Callable[[str], float | None] = lambda _: None,
    ) -> None:
        """`expected_s` tells how long a round trip to a region should take, in seconds; None if nobody knows."""
        self._clock = clock
        self._expected_s = expected_s
        self._chance = chance
        self._policy = policy
        self._changed = changed
        self._head = write_head("GET", b"/-/peer/health", [(b"host", b"peer")])
        self._connect = connect
        self._by_region: dict[str, Hosts[Peer]] = {}
        self._siblings: Hosts[Peer] = self._hosts(outlier)
        self._watches: asyncio.TaskGroup | None = None
        self._watched: dict[Peer, asyncio.Task[None]] = {}
        for gateway in gateways:
            self._meet(gateway, outlier)
        for gateway in siblings:
            self._join(self._siblings, gateway)

    def _hosts(self, outlier: OutlierPolicy | None) -> Hosts[Peer]:
        return Hosts(self._clock, outlier or OutlierPolicy(), self._chance, _ejected)

    def _meet(self, gateway: PeerGateway, outlier: OutlierPolicy | None) -> None:
        group = self._by_region.get(gateway.region)
        if group is None:
            group = self._by_region[gateway.region] = self._hosts(outlier)
        self._join(group, gateway)

    def _join(self, group: Hosts[Peer], gateway: PeerGateway) -> None:
        health = PeerHealth(self._clock, self._policy)
        slowness = Slowness(self._clock, self._expected_s(gateway.region))
        connect = self._connect
        peer = Peer(gateway, connect(gateway), connect(gateway), health, slowness, self._clock, group)
        group.join(peer)
        self._begin_watch(peer)

    def use(self, outlier: OutlierPolicy, gateways: Collection[PeerGateway]) -> None:
        """Takes up another policy of ejection, and other gateways: those of new regions are probed from now on, those
        of regions that are gone are forgotten once the requests that are under way there have ended.
        """
        for region in self._by_region.keys() - {gateway.region for gateway in gateways}:
            for peer in self._by_region.pop(region):
                self._end(peer)
        known = {peer.gateway for group in self._by_region.values() for peer in group}
        for group in self._by_region.values():
            group.use(outlier)
        for gateway in gateways:
            if gateway not in known:
                self._meet(gateway, outlier)

    def use_siblings(self, gateways: Collection[PeerGateway]) -> None:
        """Takes up other gateways of the own region."""
        gone = [peer for peer in self._siblings if peer.gateway not in gateways]
        known = {peer.gateway for peer in self._siblings}
        for peer in gone:
            self._siblings.leave(peer)
            self._end(peer)
        for gateway in gateways:
            if gateway not in known:
                self._join(self._siblings, gateway)

    def _end(self, peer: Peer) -> None:
        if (watching := self._watched.pop(peer, None)) is not None:
            watching.cancel()
        peer.upstream.close_when_idle()
        peer.probes.close()

    @property
    def regions(self) -> Iterable[str]:
        """Regions that have a peer."""
        return self._by_region.keys()

    @property
    def siblings(self) -> Iterable[Peer]:
        """The other gateways of the own region."""
        return self._siblings

    def of(self, region: str) -> list[Peer]:
        """The gateways of a region, healthy or not."""
        return list(self._by_region.get(region, ()))

    def group(self, region: str) -> Hosts[Peer] | None:
        """The gateways of a region, to tell what came of requests to them."""
        return self._by_region.get(region)

    def delays_ms(self) -> Mapping[str, float]:
        """How much slower than usual the way to each region is, through its best healthy gateway.

        What the least slow one has as well is this process's own slowness, and is left out.
        """
        delays = {
            region: min((peer.slowness.delay_ms for peer in group if peer.health.healthy), default=0.0)
            for region, group in self._by_region.items()
        }
        common = min(delays.values(), default=0.0)
        return {region: delay - common for region, delay in delays.items()}

    def pick(self, region: str, avoid: frozenset[str] = frozenset()) -> Peer | None:
        """The less busy of the healthy gateways of a region that don't fail more than the others.

        If none is healthy, the least busy one all the same: whether an unhealthy region is tried at all is for routing
        to decide, not for this.
        """
        group = self._by_region.get(region)
        if group is None:
            return None
        out = frozenset(peer for peer in group if not peer.health.healthy or peer.gateway.name in avoid)
        chosen = group.pick(out)
        if chosen is None:
            rest = [peer for peer in group if peer.gateway.name not in avoid]
            chosen = min(rest, key=lambda peer: peer.in_flight, default=None)
        return chosen

    def _all(self) -> Iterator[Peer]:
        for group in (*self._by_region.values(), self._siblings):
            yield from group

    async def watch(self) -> None:
        """Probes every peer until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._watches = group
            for peer in self._all():
                self._begin_watch(peer)
            await asyncio.Event().wait()  # others may come

    def _begin_watch(self, peer: Peer) -> None:
        if self._watches is not None:
            self._watched[peer] = self._watches.create_task(self._watch(peer))

    async def _watch(self, peer: Peer) -> None:
        interval = self._policy.probe_interval_s
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            due = loop.time() + self._chance.random() * interval
            while True:
                await asyncio.sleep(max(0.0, due - loop.time()))
                due = max(due + interval, loop.time())
                if peer.waiting < PROBES_AT_ONCE:
                    peer.waiting += 1
                    peer.health.probe_sent()
                    group.create_task(self._probe(peer))
                peer.health.tick()
                self._note(peer)

    async def _probe(self, peer: Peer) -> None:
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._policy.silence_s):
                response = await peer.probes.send(self._head, None, method="GET")
                content = await response.read()
            report = PEER_REPORT.validate_json(content) if response.status == 200 else None
        except ConnectRefused:
            peer.health.refused()
        except (UpstreamError, TimeoutError, ValidationError) as error:
            peer.health.probe_failed(str(error) or "no answer in time")
        else:
            if report is None:
                peer.health.probe_failed(f"answered {response.status}")
            else:
                peer.health.probe_answered()
                peer.slowness.look(self._clock.monotonic() - began)
                if peer.report is None or _matters(report, peer.report):
                    self._changed()
                peer.report = report
                self._take_loads(peer, report)
        finally:
            peer.waiting -= 1
        self._note(peer)

    def _take_loads(self, peer: Peer, report: PeerReport) -> None:
        now = self._clock.monotonic()
        peer.loads = {
            name: PeerLoad(load.in_flight, load.capacity, now, load.siblings)
            for name, load in report.services.items()
        }

    def refused(self, peer: Peer) -> None:
        """A request to this peer found nobody there."""
        peer.health.refused()
        self._note(peer)

    def _note(self, peer: Peer) -> None:
        healthy = peer.health.healthy
        if healthy == peer.trusted:
            return
        peer.trusted = healthy
        log.warning(
            "peer is %s",
            "healthy" if healthy else "unhealthy",
            extra={"peer": peer.gateway.name, "reason": peer.health.reason},
        )
        self._changed()
        if not healthy:
            peer.upstream.fail_all(Abandoned(f"{peer.gateway.name} is unhealthy: {peer.health.reason}"))

    def statistics(self) -> Mapping[str, PeerStatistics]:
        """A snapshot a peer, by gateway name; siblings are left out."""
        return {
            peer.gateway.name: PeerStatistics(
                region=peer.gateway.region,
                gateway=peer.gateway.name,
                healthy=peer.health.healthy,
                reason=peer.health.reason,
                since=peer.health.since,
                in_flight=peer.in_flight,
                draining=peer.report is not None and peer.report.draining,
                transitions=peer.health.statistics().transitions,
            )
            for peers in self._by_region.values()
            for peer in peers
        }

    def close(self) -> None:
        """Closes every connection."""
        for peer in self._all():
            peer.upstream.close()
            peer.probes.close()


def _ejected(peer: Peer) -> None:
    log.warning("peer %s", "is left out for a while" if peer.ejected else "is back", extra=_fields(peer))


def _fields(peer: Peer) -> dict[str, str]:
    return {"peer": peer.gateway.name, "reason": peer.ejected or "answers again"}


def _matters(new: PeerReport, old: PeerReport) -> bool:
    """Whether a report changes where requests may go."""
    return (
        new.draining != old.draining
        or new.topology != old.topology
        or {name: load.replicas for name, load in new.services.items()}
        != {name: load.replicas for name, load in old.services.items()}
    )
