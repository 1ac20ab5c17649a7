"""What a gateway tells its peers of its region every half second: ``atoll.peer/1``.

A version and its successor work side by side: keys that a reader doesn't know are passed over, and every key that was
not there from the beginning has a default.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

SCHEMA = "atoll.peer/1"


@dataclass(frozen=True, slots=True)
class ServiceLoad:
    """A service in the reporting gateway's region; requests in flight are those of this gateway alone."""

    replicas: int | None
    in_flight: int
    """Requests that this gateway has with replicas of its region."""
    capacity: int
    """Requests that the region takes at once, through all its gateways together."""
    ejected: int = 0
    """Replicas that are there and left out for a while, because they failed."""
    siblings: int = 0
    """Requests in flight of the region's other gateways, as far as this one has heard: for who knows one address for
    all of them.
    """


@dataclass(frozen=True, slots=True)
class TopologyStamp:
    """Which topology the gateway runs on."""

    revision: int
    digest: str


@dataclass(frozen=True, slots=True)
class PeerReport:
    """One gateway's account of its region."""

    region: str
    gateway: str
    draining: bool
    topology: TopologyStamp
    services: Mapping[str, ServiceLoad]
    schema: str = SCHEMA


PEER_REPORT = TypeAdapter(PeerReport)
