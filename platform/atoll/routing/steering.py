"""Which gateways a client should talk to: routing's ranking, with round trips from the client's place."""

from collections.abc import Mapping
from dataclasses import dataclass

from atoll.geo.place import Coordinates, Place, great_circle_km
from atoll.geo.rtt import RoundTripModel
from atoll.routing.rank import Ranking, RegionView, order
from atoll.topology import Topology


@dataclass(frozen=True, slots=True)
class RegionHealth:
    """Whether a region's gateways can be reached, as the one who steers knows it."""

    healthy: bool
    reason: str
    draining: bool = False


NOT_HEARD = RegionHealth(healthy=False, reason="not heard yet")
"""What is assumed of a region that nobody has said anything about."""


def place_rtts(topology: Topology, place: Place, model: RoundTripModel) -> Mapping[str, float] | None:
    """Round-trip times in milliseconds from a client's place to every region; None if nobody knows where it is.

    Distance alone says that Tokyo is nearer to Ireland than to Virginia; cables say otherwise. So the region nearest
    to the client is taken as a landmark (Ng and Zhang, "Predicting Internet Network Distance with Coordinates-Based
    Approaches", INFOCOM 2002): by how much the model is wrong between it and another region, by the measured time
    of their link, it is taken to be wrong for the client too. No region comes out nearer than the landmark.
    """
    here = place.coordinates
    if here is None:
        return None
    points = {
        name: Coordinates(region.latitude, region.longitude) for name, region in topology.regions.items()
    }
    landmark = min(points, key=lambda name: (great_circle_km(here, points[name]), name))
    nearest = model.over(great_circle_km(here, points[landmark]))
    rtts = {landmark: nearest}
    for name, point in points.items():
        if name != landmark:
            modelled = model.over(great_circle_km(points[landmark], point)) - model.base_ms
            correction = topology.rtt_ms(landmark, name) - modelled
            rtts[name] = max(nearest, model.over(great_circle_km(here, point)) + correction)
    return rtts


def steer(
    topology: Topology,
    place_rtts: Mapping[str, float] | None,
    health: Mapping[str, RegionHealth],
    zones: frozenset[str] | None = None,
) -> Ranking:
    """Ranks the regions whose gateways a client should talk to.

    `place_rtts` has every region; None (place unknown) means that the client counts as standing in the
    topology's default region. `zones` leaves out gateways elsewhere: give `transit_zones` where the service
    is known, nothing where the answer is for all services. A region that `health` doesn't name counts as
    not heard yet. If no gateway is known to be healthy all of them are named (`Ranking.panic`): a client
    had better try than be told nothing.
    """
    default = topology.steering.default_region
    views = (
        RegionView(
            region=region.name,
            zone=region.zone,
            rtt_ms=topology.rtt_ms(default, region.name) if place_rtts is None else place_rtts[region.name],
            healthy=state.healthy,
            health_reason=state.reason,
            draining=state.draining,
            # What steering looks for are the gateways themselves; a region has at least one.
            replicas=region.gateways,
        )
        for region in topology.regions.values()
        for state in (health.get(region.name, NOT_HEARD),)
    )
    allowed = frozenset(topology.zones) if zones is None else zones
    return order(views, zones=allowed, placed=topology.regions, policy=topology.routing)
