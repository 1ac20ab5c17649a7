"""Where each country's users are at home: by steering, as the gateways do it while nothing is wrong."""

from collections.abc import Mapping

from atoll.geo.countries import country_centroids
from atoll.geo.place import Place
from atoll.geo.rtt import RoundTripModel
from atoll.routing import steer
from atoll.routing.steering import RegionHealth, place_rtts
from atoll.topology import Topology


def nearest(topology: Topology) -> Mapping[str, str]:
    """Country -> the region that its users are steered to. Pure."""
    well = dict.fromkeys(topology.regions, RegionHealth(healthy=True, reason=""))
    model = RoundTripModel()
    found: dict[str, str] = {}
    for country, centroid in country_centroids().items():
        place = Place(country, centroid, "geoip-country")
        found[country] = steer(topology, place_rtts(topology, place, model), well).regions[0]
    return found
