"""Which region serves a request, and which gateway a client should talk to. Pure: no I/O, clock or chance.

>>> zones = allowed_zones(topology, service, place.country)
>>> ranking = rank(service, zones, views, topology.routing)
>>> ranking.regions
('eu-west', 'eu-central')
"""

from atoll.routing.explain import EXPLAIN, ExplainDocument, explain
from atoll.routing.rank import Candidate, Ranking, RegionView, rank
from atoll.routing.residency import Restriction, allowed_zones, restrictions, transit_zones
from atoll.routing.steering import RegionHealth, place_rtts, steer

__all__ = [
    "EXPLAIN",
    "Candidate",
    "ExplainDocument",
    "Ranking",
    "RegionHealth",
    "RegionView",
    "Restriction",
    "allowed_zones",
    "explain",
    "place_rtts",
    "rank",
    "restrictions",
    "steer",
    "transit_zones",
]
