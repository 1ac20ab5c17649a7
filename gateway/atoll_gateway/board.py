"""What this gateway knows of every region, and the ranking that follows from it.

Rankings are kept until something that they depend on changes, so that a request costs one dictionary lookup.
"""

from collections.abc import Callable, Mapping

from atoll.geo.place import Coordinates, Place
from atoll.geo.rtt import RoundTripModel
from atoll.routing.rank import Ranking, RegionView, rank
from atoll.routing.steering import RegionHealth, place_rtts, steer
from atoll.topology import Service, Topology
from atoll_gateway.peers import Peers
from atoll_gateway.replicas import Replicas

KEPT_RANKINGS = 4096


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
    ) -> None:
        self._region = region
        self._topology = topology
        self._peers = peers
        self._replicas = replicas
        self._draining = draining
        self._model = model
        self._rankings: dict[tuple[str, frozenset[str], Coordinates | None], Ranking] = {}

    def use(self, topology: Topology) -> None:
        """Takes up another topology with the same regions."""
        self._topology = topology
        self.changed()

    def changed(self) -> None:
        """Something that rankings depend on has changed: health, replicas, draining."""
        self._rankings.clear()

    def ranking(self, service: Service, zones: frozenset[str], place: Place) -> Ranking:
        """The regions for a request, best first."""
        coordinates = None if self._region is not None else place.coordinates
        key = (service.name, zones, coordinates)
        known = self._rankings.get(key)
        if known is None:
            if len(self._rankings) >= KEPT_RANKINGS:
                self._rankings.clear()
            known = self._rankings[key] = rank(
                service, zones, self.views(service, self.round_trips(place)), self._topology.routing
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
            known[self._region] = RegionHealth(healthy=True, reason="own region", draining=self._draining())
        return known

    def _region_health(self, region: str) -> RegionHealth:
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
        return [
            self._own(service, round_trips[name])
            if name == self._region
            else self._other(service, name, round_trips)
            for name in self._topology.regions
        ]

    def replicas(self, service: Service, region: str) -> int | None:
        """Ready replicas of a service in a region, as far as this gateway knows; None if it doesn't yet."""
        if region not in service.regions:
            return 0
        return (
            self._replicas.live(service.name) if region == self._region else self._reported(service, region)
        )

    def _own(self, service: Service, rtt_ms: float) -> RegionView:
        assert self._region is not None
        return RegionView(
            region=self._region,
            zone=self._topology.regions[self._region].zone,
            rtt_ms=rtt_ms,
            healthy=True,
            health_reason="own region",
            draining=self._draining(),
            replicas=self.replicas(service, self._region),
        )

    def _other(self, service: Service, region: str, round_trips: Mapping[str, float]) -> RegionView:
        health = self._region_health(region)
        return RegionView(
            region=region,
            zone=self._topology.regions[region].zone,
            rtt_ms=round_trips[region],
            healthy=health.healthy,
            health_reason=health.reason,
            draining=health.draining,
            replicas=self.replicas(service, region),
        )

    def _reported(self, service: Service, region: str) -> int | None:
        """Replicas of a service as the region's gateways report them: the most that any healthy one can reach."""
        peers = self._peers.of(region)
        healthy = [peer for peer in peers if peer.health.healthy]
        loads = [
            peer.report.services.get(service.name) for peer in (healthy or peers) if peer.report is not None
        ]
        counts = [load.replicas for load in loads if load is not None and load.replicas is not None]
        return max(counts, default=None)
