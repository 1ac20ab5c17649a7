"""What a gateway tells its peers of its region every half second: ``atoll.peer/1``."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

SCHEMA = "atoll.peer/1"


@dataclass(frozen=True, slots=True)
class ServiceLoad:
    """A service in the reporting gateway's region; requests in flight are those of this gateway alone."""

    replicas: int | None
    in_flight: int
    capacity: int


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
