"""What a warden says of its region."""

import asyncio
import os

from atoll.agent.observe import Observer
from atoll.agent.report import CELL_REPORT, CellReport
from atoll.cell import processes
from atoll.cell.cell import Cell
from atoll.cell.paths import RegionPaths
from atoll.cell.progress import Progress
from atoll.cell.status import GatewayStatus, ProcessState, ProcessStatus, RegionState, RegionStatus
from atoll.cell.wiring import WardenConfig, dashboard, gateway_name
from atoll.rpc import Client, RpcError
from atoll.tls import TlsStatistics
from atoll.topology import Region

AGENT_TIMEOUT_S = 1.0


async def region_status(
    config: WardenConfig, region: Region, cell: Cell, observer: Observer, *, memory: bool = True
) -> RegionStatus:
    """A snapshot. Load and replicas come from the agent; while it is down, `observer` looks itself.

    ``health`` is empty: how others see the region is theirs to say.
    """
    report = await _ask_agent(cell.paths) or await observer.observe()
    ray = await asyncio.to_thread(cell.ray.statuses, memory=memory)  # reads that of dozens of processes
    taken = processes.memory_pss(os.getpid()) if memory else 0
    own = ProcessStatus("warden", os.getpid(), ProcessState.RUNNING, 0, taken)
    parts = (own, *(process.status(memory=memory) for process in cell.processes), *ray)
    draining = cell.paths.drain.exists()
    return RegionStatus(
        title=region.title,
        zone=region.zone,
        state=_state(cell, parts, draining=draining),
        detail=_detail(cell, parts),
        draining=draining,
        dashboard_url=dashboard(config.ports).url,
        gateways=_gateways(config, report),
        processes=parts,
        memory_bytes=sum(part.memory_bytes for part in parts),
        replicas=report.replicas,
        in_flight=report.in_flight,
        capacity=report.capacity,
        health={},
        state_report=report.state,
        ahead=cell.ahead,
        certificates=_certificates(config.region, report),
    )


async def _ask_agent(paths: RegionPaths) -> CellReport | None:
    try:
        async with asyncio.timeout(AGENT_TIMEOUT_S):
            return CELL_REPORT.validate_python(await Client(paths.agent_socket).call("report"))
    except (RpcError, TimeoutError, OSError):
        return None


def _state(cell: Cell, parts: tuple[ProcessStatus, ...], *, draining: bool) -> RegionState:
    if draining:
        return RegionState.DRAINING
    if not cell.is_ready and not cell.failure:
        return RegionState.STARTING
    if _detail(cell, parts):
        return RegionState.DEGRADED
    return RegionState.READY


def _detail(cell: Cell, parts: tuple[ProcessStatus, ...]) -> str:
    """What is wrong or waited for."""
    down = [f"{part.name} {part.state.value}" for part in parts if part.state is not ProcessState.RUNNING]
    waiting = [_words(event) for event in cell.board.waiting()]
    sentences = [cell.failure, ", ".join(down) if cell.is_ready else ""]
    if waiting and not cell.failure:
        sentences.append(f"waiting for {', '.join(waiting)}")
    return "; ".join(sentence for sentence in sentences if sentence)


def _words(event: Progress) -> str:
    return f"{event.step} ({event.detail})" if event.detail else event.step


def _certificates(region: str, report: CellReport) -> dict[str, TlsStatistics]:
    shown = {f"{region}/agent": report.certificate}
    shown |= {name: gateway.certificate for name, gateway in report.gateways.items()}
    return {name: certificate for name, certificate in shown.items() if certificate is not None}


def _gateways(config: WardenConfig, report: CellReport) -> tuple[GatewayStatus, ...]:
    found = []
    for number, ports in enumerate(config.ports.gateways, 1):
        name = gateway_name(config.region, number)
        seen = report.gateways.get(name)
        found.append(
            GatewayStatus(
                name=name,
                public_url=ports.public.url,
                admin_url=ports.admin.url,
                topology_digest=seen.topology_digest if seen else None,
                topology_error=seen.topology_error if seen else None,
            )
        )
    return tuple(found)
