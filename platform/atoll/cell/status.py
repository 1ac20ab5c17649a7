"""What `atoll status` says: one frozen document of the whole run, and its JSON form ``atoll.status/1``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import TypeAdapter

from atoll.cell.state_report import StateReport
from atoll.serve.ahead import AheadStatistics
from atoll.tls import TlsStatistics

SCHEMA = "atoll.status/1"


class ProcessState(StrEnum):
    """What a process is doing."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    """It ended by itself and waits for its next start."""
    KILLED = "killed"
    """Ended by a fault; stays down until healed."""
    FROZEN = "frozen"
    """Stopped by a fault; stays so until healed."""
    STOPPED = "stopped"


class RegionState(StrEnum):
    """What a region is doing."""

    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    """It serves, but a process of it is down."""
    DRAINING = "draining"
    KILLED = "killed"
    FROZEN = "frozen"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process. ``memory_bytes`` is its proportional share (PSS), so the sum over processes is what is in use."""

    name: str
    pid: int | None
    state: ProcessState
    restarts: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """One gateway of a region."""

    name: str
    public_url: str
    admin_url: str
    topology_digest: str | None
    topology_error: str | None
    """Why the topology file as it is now was refused, if it was."""


@dataclass(frozen=True, slots=True)
class ReplicaCount:
    """Replicas of a service in a region."""

    running: int
    target: int


@dataclass(frozen=True, slots=True)
class RegionStatus:
    """One region."""

    title: str
    zone: str
    state: RegionState
    detail: str
    """What is waited for or what is wrong, in words; empty if all is well."""
    draining: bool
    dashboard_url: str
    gateways: tuple[GatewayStatus, ...]
    processes: tuple[ProcessStatus, ...]
    memory_bytes: int
    replicas: Mapping[str, ReplicaCount]
    in_flight: Mapping[str, int]
    """Requests in flight a service, over the region's gateways."""
    capacity: Mapping[str, int]
    """Requests in flight that the region's replicas take at most, a service."""
    health: Mapping[str, str]
    """How each gateway outside sees this region: gateway -> ``healthy`` or ``unhealthy`` and why."""
    state_report: StateReport | None = None
    """The figures of its state; None while its agent or its state store does not answer."""
    ahead: AheadStatistics | None = None
    """Replicas that are kept ahead of the load of lost regions; None while its warden does not answer."""
    certificates: Mapping[str, TlsStatistics] = field(default_factory=dict)
    """What its processes show other cells, by process; those without TLS are left out."""


@dataclass(frozen=True, slots=True)
class FaultStatus:
    """A fault that is in force."""

    kind: str
    target: str
    detail: str


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The whole run."""

    run: str
    started_at: str
    """RFC 3339, UTC."""
    supervisor_pid: int
    topology: str
    topology_file: str
    topology_revision: int
    topology_digest: str
    entry_url: str
    entry_admin_url: str
    processes: tuple[ProcessStatus, ...]
    """Those that belong to no region: supervisor, links, entry."""
    memory_bytes: int
    regions: Mapping[str, RegionStatus]
    faults: tuple[FaultStatus, ...]
    schema: str = SCHEMA


RUN_STATUS = TypeAdapter(RunStatus)
"""Reads, writes and describes (JSON Schema) the document."""
