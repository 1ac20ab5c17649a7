"""A run that is whole, as its status says, for tests of what drills make of it."""

from atoll.cell.status import (
    ProcessState,
    ProcessStatus,
    RegionState,
    RegionStatus,
    ReplicaCount,
    RunStatus,
)

REGION = RegionStatus(
    title="Ireland",
    zone="eu",
    state=RegionState.READY,
    detail="",
    draining=False,
    dashboard_url="",
    gateways=(),
    processes=(ProcessStatus("gateway-1", 1, ProcessState.RUNNING, 0, 0),),
    memory_bytes=0,
    replicas={"quote": ReplicaCount(1, 1)},
    in_flight={"quote": 3},
    capacity={"quote": 64},
    health={"us-east/gateway-1": "healthy", "entry": "healthy"},
)
RUN = RunStatus(
    run="x",
    started_at="",
    supervisor_pid=1,
    topology="local",
    topology_file="",
    topology_revision=1,
    topology_digest="",
    entry_url="",
    entry_admin_url="",
    processes=(ProcessStatus("entry", 1, ProcessState.RUNNING, 0, 0),),
    memory_bytes=0,
    regions={"eu-west": REGION},
    faults=(),
)
