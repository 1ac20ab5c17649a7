"""The way between a user and a region: how long a round trip takes.

It goes by the true coordinates of the user's city, with the model that steering has (`atoll.routing.steering`);
gateways know the country alone.
"""

from collections.abc import Mapping

from atoll.geo.place import Place
from atoll.geo.rtt import RoundTripModel
from atoll.routing.steering import place_rtts
from atoll.topology import Topology
from atoll_services.cities import City


class Network:
    """Round trips from cities to the regions of a topology. What was worked out is kept."""

    def __init__(self, topology: Topology, model: RoundTripModel | None = None) -> None:
        self._topology = topology
        self._model = model or RoundTripModel()
        self._known: dict[int, Mapping[str, float]] = {}

    def round_trips(self, city: City) -> Mapping[str, float]:
        """Seconds to each region."""
        known = self._known.get(city.id)
        if known is None:
            place = Place(country=city.country, coordinates=city.coordinates, source="geoip-city")
            times = place_rtts(self._topology, place, self._model)
            assert times is not None, "a city has coordinates"
            known = self._known[city.id] = {region: ms / 1000.0 for region, ms in times.items()}
        return known

    def nearest(self, city: City) -> str:
        """The region with the shortest round trip."""
        times = self.round_trips(city)
        return min(times, key=lambda region: (times[region], region))
