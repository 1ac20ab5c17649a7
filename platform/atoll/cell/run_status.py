"""What `atoll status` says: asked of every warden and every gateway, put into one document."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace

from pydantic import TypeAdapter, ValidationError

from atoll.cell import processes
from atoll.cell.faults import Faults
from atoll.cell.gateway_view import GatewayView
from atoll.cell.requests import Fault, StatusRequest
from atoll.cell.run import Run
from atoll.cell.status import GatewayStatus, ProcessState, ProcessStatus, RegionState, RegionStatus, RunStatus
from atoll.cell.wiring import dashboard, gateway_name
from atoll.rpc import RpcError

WARDEN_TIMEOUT_S = 5.0

_REGION: TypeAdapter[RegionStatus] = TypeAdapter(RegionStatus)


async def run_status(run: Run, faults: Faults, *, memory: bool = True) -> RunStatus:
    """A snapshot. What doesn't answer is said to be down, frozen or killed; nothing here waits long for it."""
    names = list(run.wardens)
    regions, views = await asyncio.gather(
        asyncio.gather(*(_region(run, faults, name, memory=memory) for name in names)),
        asyncio.gather(*(run.views.view(admin) for admin in run.plan.ports.admins)),
    )
    present = [view for view in views if view is not None]
    supervisor = ProcessStatus(
        "supervisor", os.getpid(), ProcessState.RUNNING, 0, processes.memory_pss(os.getpid()) if memory else 0
    )
    own = (supervisor, run.links.status(memory=memory), run.entry.status(memory=memory))
    return RunStatus(
        run=run.plan.facts.run,
        started_at=run.plan.facts.started_at,
        supervisor_pid=os.getpid(),
        topology=run.plan.topology.name,
        topology_file=str(run.plan.wish.topology_file),
        topology_revision=run.plan.topology.revision,
        topology_digest=run.plan.topology.digest,
        entry_url=run.plan.ports.entry_public.url,
        entry_admin_url=run.plan.ports.entry_admin.url,
        processes=own,
        memory_bytes=sum(process.memory_bytes for process in own)
        + sum(region.memory_bytes for region in regions),
        regions={
            name: replace(_on_its_way(run, name, region), health=_seen_by_others(name, present))
            for name, region in zip(names, regions, strict=True)
        },
        faults=faults.statuses(),
    )


async def _region(run: Run, faults: Faults, name: str, *, memory: bool) -> RegionStatus:
    warden = await asyncio.to_thread(run.wardens[name].status, memory=memory)
    match faults.on_region(name):
        case Fault.KILL:
            return _silent(
                run, name, RegionState.KILLED, warden, "killed by a fault; `atoll fault heal` starts it"
            )
        case Fault.FREEZE:
            return _silent(
                run, name, RegionState.FROZEN, warden, "frozen by a fault; `atoll fault heal` ends it"
            )
    try:
        async with asyncio.timeout(WARDEN_TIMEOUT_S):
            answer = await run.ask(name, "status", StatusRequest(memory=memory).model_dump(), lambda _: None)
        status = _REGION.validate_python(answer)
    except (RpcError, TimeoutError, ValidationError):
        why = run.wardens[name].last_end or "does not answer"
        state = RegionState.STARTING if warden.state is ProcessState.STARTING else RegionState.DOWN
        return _silent(run, name, state, warden, f"its warden {why}")
    # The warden knows its memory; how often it was restarted is known here.
    parts = tuple(
        replace(part, restarts=warden.restarts) if part.name == "warden" else part
        for part in status.processes
    )
    return replace(status, processes=parts)


def _on_its_way(run: Run, name: str, region: RegionStatus) -> RegionStatus:
    """A region that is being added or removed has no traffic, whatever its warden says of it."""
    if name in run.plan.topology.regions:
        return region
    state, words = (
        (RegionState.DRAINING, "is being removed")
        if region.draining
        else (RegionState.STARTING, "is being added")
    )
    if region.state not in (RegionState.READY, RegionState.DRAINING, RegionState.DEGRADED):
        state = region.state
    detail = f"{words}; `atoll up` completes it if it was interrupted"
    return replace(region, state=state, detail=f"{detail}; {region.detail}" if region.detail else detail)


def _silent(run: Run, name: str, state: RegionState, warden: ProcessStatus, detail: str) -> RegionStatus:
    """A region whose warden can't be asked."""
    region = run.plan.regions[name]
    ports = run.plan.ports.regions[name]
    return RegionStatus(
        title=region.title,
        zone=region.zone,
        state=state,
        detail=detail,
        draining=run.paths.region(name).drain.exists(),
        dashboard_url=dashboard(ports).url,
        gateways=tuple(
            GatewayStatus(gateway_name(name, number), gateway.public.url, gateway.admin.url, None, None)
            for number, gateway in enumerate(ports.gateways, 1)
        ),
        processes=(warden,),
        memory_bytes=warden.memory_bytes,
        replicas={},
        in_flight={},
        capacity={},
        health={},
    )


def _seen_by_others(region: str, views: Sequence[GatewayView]) -> dict[str, str]:
    """Gateway elsewhere -> ``healthy``, or ``unhealthy`` and why."""
    return {
        view.gateway: "healthy" if seen.healthy else f"unhealthy: {seen.reason}"
        for view in views
        if (seen := view.regions.get(region)) is not None and view.gateway.partition("/")[0] != region
    }
