"""Whether a run is as a drill has to find it, or nobody could tell what the drill did. Pure."""

from atoll.cell.status import ProcessState, RegionState, RunStatus
from atoll.topology import Topology
from loadtests.drills.scenario import Drill


def broken_on_purpose(status: RunStatus) -> str:
    """What somebody has broken or drained, in words: waiting makes that no better. Empty if nothing is so."""
    if status.faults:
        return "in force: " + ", ".join(f"{fault.kind} {fault.target}" for fault in status.faults)
    draining = [name for name, region in status.regions.items() if region.draining]
    return f"draining: {', '.join(draining)}" if draining else ""


def restless(status: RunStatus) -> str:
    """What starts, stops, scales, or is not trusted yet, in words; empty if nothing does."""
    for process in status.processes:
        if process.state is not ProcessState.RUNNING:
            return f"{process.name} is {process.state.value}"
    for name, region in status.regions.items():
        if region.state is not RegionState.READY:
            return f"{name} is {region.state.value}" + (f" ({region.detail})" if region.detail else "")
        if doubters := sorted(gateway for gateway, seen in region.health.items() if seen != "healthy"):
            return f"{name} is not trusted by {', '.join(doubters)}"
    return scaling(status)


def scaling(status: RunStatus) -> str:
    """Where Serve has other replicas than it wants, in words; empty if that is nowhere so."""
    for name, region in status.regions.items():
        for service, count in sorted(region.replicas.items()):
            if count.running != count.target:
                return f"{name} runs {count.running} of {service}, and wants {count.target}"
    return ""


def scaled(status: RunStatus, topology: Topology) -> str:
    """Which service has more replicas than its least, in words; empty if none has."""
    for name, region in status.regions.items():
        for service in topology.deployed_in(name) if name in topology.regions else ():
            count, least = region.replicas.get(service.name), service.replicas.minimum
            most = 0 if count is None else max(count.running, count.target)
            if most > least:
                return f"{name} still has {most} of {service.name} from a load before, and {least} at rest"
    return ""


def counts_replicas(drill: Drill) -> bool:
    """Whether it judges autoscaling, and so begins with as many replicas as there are at rest."""
    return any(one.figure.startswith("autoscaling.") for one in drill.expectations)
