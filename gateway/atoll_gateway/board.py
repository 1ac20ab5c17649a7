"""What this gateway knows of every region, and the ranking that follows from it.

Rankings are kept until something that they depend on changes, and for a poll at most, so that a request costs one
dictionary lookup. Loads are looked at when a ranking is made anew.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from atoll.clock import Clock
from atoll.geo.place import Coordinates, Place
from atoll.geo.rtt import RoundTripModel
from atoll.resilience.pace import Behind
from atoll.routing.pressure import Pressure
from atoll.routing.rank import Ranking, RegionView, rank
from atoll.routing.slowness import behind_ms
from atoll.routing.spill import Spill
from atoll.routing.steering import RegionHealth, place_rtts, steer
from atoll.topology import Service, Topology
from atoll_gateway.peers import LOAD_FRESH_S, Peers
from atoll_gateway.replicas import Replicas

KEPT_RANKINGS = 4096


def _unknown(_service: str, _region: str) -> Behind | None:
    return None


@dataclass(frozen=True, slots=True)
class RegionLoad:
    """A service in a region: requests that all its gateways together have there, and that it takes at once."""

    in_flight: int
    capacity: int | None
    """None if that is not known, or was heard too long ago."""


class Board:
    """Regions as one gateway sees them. `region` is None for an entry, which ranks by the client's place."""

    def __init__(
        self,
        region: str | None,
        topology: Topology,
        peers: Peers,
        replicas: Replicas,
        draining: Callable[[], bool],
        model: RoundTripModel,
        clock: Clock,
        behind: Callable[[str, str], Behind | None] = _unknown,
    ) -> None:
        """`behind` tells of a service (its first argument) that a region has become slower than another one."""
        self._region = region
        self._topology = topology
        self._peers = peers
        self._replicas = replicas
        self._draining = draining
        self._model = model
        self._clock = clock
        self._behind = behind
        self._rankings: dict[tuple[str, frozenset[str], Coordinates | None], Ranking] = {}
        self._spills: dict[tuple[str, frozenset[str], tuple[str, ...]], Spill] = {}
        self._pressures: dict[tuple[str, frozenset[str]], Pressure] = {}
        self._pressed: dict[tuple[str, frozenset[str]], float] = {}

    def use(self, topology: Topology) -> None:
        """Takes up another topology. Call it after the peers'."""
        self._topology = topology
        for spill in self._spills.values():
            spill.use(topology.routing)
        self.changed()

    def changed(self) -> None:
        """Something that rankings depend on has changed: health, replicas, draining, or the time."""
        self._rankings.clear()
        self._pressed.clear()

    def ranking(self, service: Service, zones: frozenset[str], place: Place) -> Ranking:
        """The regions for a request, best first."""
        coordinates = None if self._region is not None else place.coordinates
        key = (service.name, zones, coordinates)
        known = self._rankings.get(key)
        if known is None:
            if len(self._rankings) >= KEPT_RANKINGS:
                self._rankings.clear()
            views = self.views(service, self.round_trips(place))
            ranking = rank(service, zones, views, self._topology.routing)
            known = self._rankings[key] = self._spill(service, zones, views).settle(ranking, views)
        return known

    def _spill(self, service: Service, zones: frozenset[str], views: Iterable[RegionView]) -> Spill:
        """The shares of requests like this one. An entry has them for each order of the two nearest regions, healthy or
        not, so that the loss of a region is seen as one by the clients next to it.
        """
        nearest: tuple[str, ...] = ()
        if self._region is None:
            fit = [view for view in views if view.zone in zones and view.region in service.regions]
            nearest = tuple(
                view.region for view in sorted(fit, key=lambda view: (view.rtt_ms, view.region))[:2]
            )
        key = (service.name, zones, nearest)
        spill = self._spills.get(key)
        if spill is None:
            spill = self._spills[key] = Spill(self._clock, self._topology.routing)
        return spill

    def pressure(self, service: Service, zones: frozenset[str]) -> float:
        """Requests in flight / capacity over all regions that may serve such a request; 0 if no capacity is known.

        Above 1 there are more requests than places, and none for the least critical. What a region had that has just
        been lost counts on for a while.
        """
        key = (service.name, zones)
        known = self._pressed.get(key)
        if known is None:
            pressure = self._pressures.get(key)
            if pressure is None:
                pressure = self._pressures[key] = Pressure(self._clock)
            views = self.views(service, dict.fromkeys(self._topology.regions, 0.0))
            ranking = rank(service, zones, views, self._topology.routing)
            known = self._pressed[key] = pressure.look(
                ranking, views, self._topology.bulkhead.sheddable_share
            )
        return known

    def round_trips(self, place: Place) -> Mapping[str, float]:
        """Round-trip times in milliseconds that routing goes by: from here, or for an entry from the client."""
        if self._region is not None:
            return {name: self._topology.rtt_ms(self._region, name) for name in self._topology.regions}
        return self.from_place(place)

    def from_place(self, place: Place) -> Mapping[str, float]:
        """Round-trip times in milliseconds between a client's place and every region.

        A client of unknown place is taken to stand in the topology's default region.
        """
        topology = self._topology
        known = place_rtts(topology, place, self._model)
        if known is not None:
            return known
        return {name: topology.rtt_ms(topology.steering.default_region, name) for name in topology.regions}

    def steering(self, place: Place, zones: frozenset[str] | None = None) -> Ranking:
        """The regions whose gateways a client at this place should talk to, best first."""
        return steer(self._topology, place_rtts(self._topology, place, self._model), self.health(), zones)

    def health(self) -> Mapping[str, RegionHealth]:
        """Whether each region's gateways can be reached from here."""
        known = {name: self._region_health(name) for name in self._peers.regions}
        if self._region is not None:
            known[self._region] = self._region_health(self._region)
        return known

    def _region_health(self, region: str) -> RegionHealth:
        if region == self._region:
            return RegionHealth(healthy=True, reason="own region", draining=self._draining())
        peers = self._peers.of(region)
        healthy = [peer for peer in peers if peer.health.healthy]
        reason = "; ".join(
            f"{peer.gateway.name}: {peer.health.reason}" for peer in peers if peer.health.reason
        )
        draining = any(peer.report.draining for peer in (healthy or peers) if peer.report is not None)
        return RegionHealth(
            bool(healthy), reason or ("healthy" if healthy else "no gateway is known"), draining
        )

    def views(self, service: Service, round_trips: Mapping[str, float]) -> list[RegionView]:
        """Every region that is to run the service, as this gateway sees it now."""
        links = self._peers.delays_ms()
        views = []
        for name in self._topology.regions:
            behind = self._behind(service.name, name)
            delay_ms = max(links.get(name, 0.0), behind_ms(behind, name, round_trips))
            tried_again = behind is not None and behind.tried_again
            views.append(self._view(service, name, round_trips[name], delay_ms, tried_again=tried_again))
        return views

    def replicas(self, service: Service, region: str) -> int | None:
        """Ready replicas of a service in a region, as far as this gateway knows; None if it doesn't yet."""
        return self._replicas_of(service, region)[0]

    def capacity(self, region: str, service: str) -> int | None:
        """Requests of a service that a region takes at once; None if that is not known."""
        known = self._topology.services.get(service)
        return None if known is None else self.load(known, region).capacity

    def load(self, service: Service, region: str) -> RegionLoad:
        """A service's load in a region, summed over the region's gateways that were heard lately. Where they all have
        one address, whoever answers there speaks for the others too.
        """
        now = self._clock.monotonic()
        own = region == self._region
        peers = list(self._peers.siblings) if own else self._peers.of(region)
        loads = [
            load
            for peer in peers
            if peer.health.healthy and (load := peer.loads.get(service.name)) is not None
            if now - load.heard <= LOAD_FRESH_S
        ]
        capacity = max((load.capacity for load in loads), default=0)
        in_flight = sum(load.in_flight for load in loads)
        if not own and len(peers) == 1:
            in_flight += sum(load.siblings for load in loads)
        if own:
            in_flight += self._replicas.in_flight(service.name)
            capacity = self.own_capacity(service) or capacity
        return RegionLoad(in_flight, capacity or None)

    def own_capacity(self, service: Service) -> int:
        """Requests of a service that the own region takes at once, by the replicas that this gateway reaches."""
        return (self._replicas.live(service.name) or 0) * service.replicas.max_in_flight

    def told(self, service: Service) -> bytes:
        """``Atoll-Load``: what this gateway has with the own region's replicas, and what the region takes at once."""
        return b"%d/%d" % (self._replicas.in_flight(service.name), self.own_capacity(service))

    def _view(
        self, service: Service, region: str, rtt_ms: float, delay_ms: float, *, tried_again: bool
    ) -> RegionView:
        health = self._region_health(region)
        replicas, ejected = self._replicas_of(service, region)
        load = self.load(service, region)
        return RegionView(
            region=region,
            zone=self._topology.regions[region].zone,
            rtt_ms=rtt_ms,
            healthy=health.healthy,
            health_reason=health.reason,
            draining=health.draining,
            replicas=replicas,
            ejected=ejected,
            capacity=load.capacity,
            in_flight=load.in_flight,
            delay_ms=delay_ms,
            tried_again=tried_again,
        )

    def _replicas_of(self, service: Service, region: str) -> tuple[int | None, int]:
        """Ready replicas of a service in a region, and ejected ones."""
        if region not in service.regions:
            return 0, 0
        if region != self._region:
            return self._reported(service, region)
        live = self._replicas.live(service.name)
        return live, 0 if live is None else len(self._replicas.of(service.name)) - live

    def _reported(self, service: Service, region: str) -> tuple[int | None, int]:
        """As the region's gateways report it: the most that any healthy one can reach."""
        peers = self._peers.of(region)
        healthy = [peer for peer in peers if peer.health.healthy]
        loads = [
            peer.report.services.get(service.name) for peer in (healthy or peers) if peer.report is not None
        ]
        known = [load for load in loads if load is not None and load.replicas is not None]
        return (
            max((load.replicas for load in known if load.replicas is not None), default=None),
            max((load.ejected for load in known), default=0),
        )
