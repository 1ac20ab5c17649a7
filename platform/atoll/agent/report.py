"""What an agent says of its cell."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from atoll.cell.state_report import StateReport
from atoll.cell.status import ReplicaCount
from atoll.tls import TlsStatistics

SCHEMA = "atoll.cell-report/1"


@dataclass(frozen=True, slots=True)
class GatewayReport:
    """One gateway of the cell, as it said itself when it was last asked."""

    answers: bool
    draining: bool = False
    topology_digest: str | None = None
    topology_error: str | None = None
    certificate: TlsStatistics | None = None


@dataclass(frozen=True, slots=True)
class CellReport:
    """A cell's health and load, summed over its gateways."""

    region: str
    at: str
    """When this was seen: RFC 3339, UTC."""
    gateways: Mapping[str, GatewayReport]
    in_flight: Mapping[str, int]
    """Requests in flight with the region's replicas, a service."""
    capacity: Mapping[str, int]
    """Requests in flight that the region's replicas take at most, a service."""
    held: int
    """Requests that the region's gateways have taken and not yet answered, wherever they are served."""
    replicas: Mapping[str, ReplicaCount]
    serve_answers: bool
    cache_answers: bool
    state_answers: bool
    state: StateReport | None = None
    """None while the state store does not answer, or if nobody but its agent could say it."""
    certificate: TlsStatistics | None = None
    """What the agent shows other cells; None without TLS."""
    schema: str = SCHEMA


CELL_REPORT: TypeAdapter[CellReport] = TypeAdapter(CellReport)
