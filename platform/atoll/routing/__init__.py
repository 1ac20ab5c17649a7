"""Which region serves a request, and which gateway a client should talk to. Pure: no I/O; clock and chance come in.

>>> zones = allowed_zones(topology, service, place.country)
>>> ranking = rank(service, zones, views, topology.routing)
>>> ranking.regions
('eu-west', 'eu-central')
>>> spill.settle(ranking, views).draw(chance)  # by load
('eu-central', 'eu-west')
"""

from atoll.routing.ahead import taken_over
from atoll.routing.explain import EXPLAIN, ExplainDocument, explain
from atoll.routing.pressure import Pressure
from atoll.routing.rank import Candidate, Ranking, RegionView, rank
from atoll.routing.residency import Restriction, allowed_zones, restrictions, service_zones, transit_zones
from atoll.routing.spill import Spill, SpillStatistics
from atoll.routing.steering import RegionHealth, place_rtts, steer

__all__ = [
    "EXPLAIN",
    "Candidate",
    "ExplainDocument",
    "Pressure",
    "Ranking",
    "RegionHealth",
    "RegionView",
    "Restriction",
    "Spill",
    "SpillStatistics",
    "allowed_zones",
    "explain",
    "place_rtts",
    "rank",
    "restrictions",
    "service_zones",
    "steer",
    "taken_over",
    "transit_zones",
]
