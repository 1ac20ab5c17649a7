"""What a gateway answers about itself: to clients, to operators and to its peers."""

from collections.abc import Mapping

from atoll.agent.exposition import state_exposition
from atoll.geo.place import Place
from atoll.resilience.breaker import BreakerState
from atoll.resilience.criticality import Criticality
from atoll.routing.explain import ExplainDocument, explain
from atoll.routing.rank import rank
from atoll.routing.residency import allowed_zones, service_zones, transit_zones
from atoll.telemetry.metrics import CONTENT_TYPE
from atoll.topology import Service
from atoll_gateway.board import RegionLoad
from atoll_gateway.control import Asked, Ready, SteerDocument, SteerGateway, SteerPlace
from atoll_gateway.gateway import Gateway
from atoll_gateway.http.problem import Problem
from atoll_gateway.peer_report import PeerReport, ServiceLoad, TopologyStamp
from atoll_gateway.views import (
    LoadView,
    PeerView,
    RegionHealthView,
    RegionsDocument,
    ServiceView,
    TopologyView,
)

ANYWHERE = Place(country=None, coordinates=None, source="unknown")


class Answers:
    """Reads a gateway; changes nothing."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def ready(self) -> Ready:
        """Ready while any service can be served from anywhere, and this gateway is not draining."""
        gateway = self._gateway
        if gateway.draining:
            return Ready(ready=False, reason="this gateway is draining")
        for service in gateway.topology.services.values():
            ranking = gateway.board.ranking(service, service_zones(gateway.topology, service), ANYWHERE)
            if ranking.regions and not ranking.panic:
                return Ready(ready=True, reason=f"{service.name} is served from {ranking.regions[0]}")
        return Ready(ready=False, reason="no service can be served from any region")

    def steer(self, peer: str, headers: Mapping[bytes, bytes]) -> SteerDocument:
        """The ranked gateways for whoever asks."""
        gateway = self._gateway
        _, place = gateway.edge.locate(peer, dict(headers))
        ranking = gateway.board.steering(place)
        times = {candidate.region: candidate.rtt_ms for candidate in ranking.candidates}
        at = place.coordinates
        return SteerDocument(
            ttl_s=gateway.topology.steering.ttl_s,
            topology_revision=gateway.topology.revision,
            place=SteerPlace(
                country=place.country,
                latitude=None if at is None else at.latitude,
                longitude=None if at is None else at.longitude,
                source=place.source,
            ),
            gateways=[
                SteerGateway(region=region, url=url, rtt_ms=round(times[region], 1))
                for region in ranking.regions
                for url in gateway.wiring.public_urls.get(region, ())
            ],
        )

    def explain(self, client: str, service: str, source: str | None) -> ExplainDocument:
        """Steering and routing of a request that this client would send. Raises `Asked` for unknown names."""
        gateway = self._gateway
        topology = gateway.topology
        known = topology.services.get(service)
        if known is None:
            raise Asked(_unknown("service", service, topology.services))
        if source is not None and source not in topology.regions:
            raise Asked(_unknown("region", source, topology.regions))
        place = gateway.geo.locate(client)
        steering = gateway.board.steering(place, transit_zones(topology, known, place.country))
        start = (
            source or gateway.wiring.region or next(iter(steering.regions), topology.steering.default_region)
        )
        zones = allowed_zones(topology, known, place.country)
        if start == gateway.wiring.region:
            routing = gateway.board.ranking(known, zones, place)
        else:  # what a gateway there would decide, as far as health and load are known here; the shares are its own
            times = {name: topology.rtt_ms(start, name) for name in topology.regions}
            routing = rank(known, zones, gateway.board.views(known, times), topology.routing)
        return explain(
            topology,
            known,
            client=client,
            place=place,
            gateway=gateway.wiring.name,
            routed_from=start,
            steering=steering,
            routing=routing,
        )

    def exposition(self) -> tuple[bytes, str]:
        """The metrics as they are now, with their content type."""
        gateway = self._gateway
        metrics = gateway.metrics
        for name, peer in gateway.peers.statistics().items():
            metrics.peer(peer.region, name, healthy=peer.healthy, transitions=peer.transitions)
        for service, group in gateway.replicas.statistics().items():
            metrics.replicas(service, group.known)
            metrics.replica_ejections(service, group.ejections)
        for (region, service), lane in gateway.stack.regions.statistics().items():
            bulkhead = lane.bulkhead
            metrics.bulkhead(
                service,
                region,
                limit=bulkhead.limit,
                in_flight=bulkhead.in_flight,
                waiting=bulkhead.waiting,
                shed={of.name.lower(): bulkhead.shed[of] for of in Criticality},
            )
            closed = lane.breaker.state is BreakerState.CLOSED
            metrics.breaker(service, region, closed=closed, trips=lane.breaker.trips)
        for service, retries in gateway.stack.retry.statistics().items():
            budget, attempts = retries.budget, retries.attempts
            metrics.retries(
                service,
                balance=budget.balance,
                requests=budget.requests,
                successes=budget.successes,
                limit_exceeded=budget.limit_exceeded,
                overflow=budget.overflow,
            )
            metrics.hedges(service, sent=attempts.hedges_sent, won=attempts.hedges_won)
        metrics.topology_refusals(gateway.topology_file.statistics().refused)
        metrics.draining(bool(gateway.draining))
        if (tls := gateway.certificate) is not None:
            metrics.certificate(tls.expires, taken=tls.taken, refused=tls.refused)
        metrics.access_log_dropped(gateway.access_log.statistics().dropped)
        return metrics.exposition(), CONTENT_TYPE

    async def state_exposition(self) -> bytes:
        """The metrics of the region's state, to go after the gateway's own; nothing for an entry."""
        wiring = self._gateway.wiring
        if wiring.region is None or wiring.agent_socket is None:
            return b""
        return await state_exposition(wiring.region, wiring.agent_socket)

    def peer_report(self) -> PeerReport:
        """What peers are told of this region."""
        gateway = self._gateway
        region = gateway.wiring.region
        assert region is not None, "an entry has no peer listener"
        return PeerReport(
            region=region,
            gateway=gateway.wiring.name,
            draining=bool(gateway.draining),
            topology=TopologyStamp(gateway.topology.revision, gateway.topology.digest),
            services={service.name: self._load(service) for service in gateway.topology.services_in(region)},
        )

    def regions(self) -> RegionsDocument:
        """This gateway's view of everything."""
        gateway = self._gateway
        topology = gateway.topology
        return RegionsDocument(
            gateway=gateway.wiring.name,
            region=gateway.wiring.region,
            draining=bool(gateway.draining),
            topology=TopologyView(
                topology.name, topology.revision, topology.digest, gateway.topology_file.statistics().error
            ),
            services={service.name: self._service(service) for service in topology.services.values()},
            regions={
                name: RegionHealthView(
                    health.healthy,
                    health.reason,
                    health.draining,
                    {
                        service.name: gateway.board.replicas(service, name)
                        for service in topology.services_in(name)
                    },
                    self._peers(name),
                    {
                        service.name: _load(gateway.board.load(service, name))
                        for service in topology.services_in(name)
                    },
                )
                for name, health in gateway.board.health().items()
            },
            certificate=gateway.certificate,
        )

    def _load(self, service: Service) -> ServiceLoad:
        replicas, region = self._gateway.replicas, self._gateway.wiring.region
        live = replicas.live(service.name)
        own = replicas.in_flight(service.name)
        whole = own if region is None else self._gateway.board.load(service, region).in_flight
        return ServiceLoad(
            replicas=live,
            in_flight=own,
            siblings=whole - own,
            capacity=self._gateway.board.own_capacity(service),
            ejected=0 if live is None else len(replicas.of(service.name)) - live,
        )

    def _service(self, service: Service) -> ServiceView:
        gateway = self._gateway
        load = self._load(service)
        statistics = gateway.metrics.service(service.name).statistics()
        group = gateway.replicas.statistics().get(service.name)
        return ServiceView(
            replicas=load.replicas,
            ejected=0 if group is None else group.ejected,
            in_flight=statistics.in_flight,
            local_in_flight=load.in_flight,
            capacity=load.capacity,
            requests=statistics.requests,
            attempts=statistics.attempts,
            pressure=round(gateway.board.pressure(service, service_zones(gateway.topology, service)), 3),
        )

    def _peers(self, region: str) -> Mapping[str, PeerView]:
        gateway = self._gateway
        now = gateway.clock.monotonic()
        return {
            peer.gateway.name: PeerView(
                healthy=peer.health.healthy,
                reason=peer.health.reason,
                since_s=round(now - peer.health.since, 3),
                in_flight=peer.in_flight,
                draining=peer.report is not None and peer.report.draining,
                topology_digest=None if peer.report is None else peer.report.topology.digest,
            )
            for peer in gateway.peers.of(region)
        }


def _load(load: RegionLoad) -> LoadView:
    return LoadView(load.in_flight, load.capacity)


def _unknown(kind: str, name: str, known: Mapping[str, object]) -> Problem:
    names = ", ".join(known)
    return Problem(404, f"no-such-{kind}", f"No such {kind}", f"There is no {kind} {name!r}; known: {names}.")
