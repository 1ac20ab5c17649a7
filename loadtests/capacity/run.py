"""Measures one rate after the other on the run of this folder: one region's gateway, alone and with the others."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from atoll.cell.client import SupervisorClient
from atoll.cell.status import RunStatus
from loadtests.capacity.objectives import Measured, Objectives, judge, measured
from loadtests.capacity.report import Mode, Step
from loadtests.capacity.search import Search
from loadtests.drills.processor import Processor
from loadtests.drills.record import Way
from loadtests.drills.scenario import Load, Shape, ShapeKind
from loadtests.drills.traffic import Traffic

ALONE = "local region alone"
SPILL = "with spill"
NOTICE_S = 5.0
"""What was cut is known to all gateways by then (`health.silence` and a probe)."""
LOOK_S = 3.0
IDLE = 0.5
"""Share of the machine in use above which no search begins. Three idle regions take a fifth of two cores."""
LATE_S = 1.0
"""So long above the objective the load goes on after what is measured, so that what is late is late, not cut off."""


class CapacityError(Exception):
    """There is nothing to measure; says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a rate is measured."""

    wait_s: float
    """For so long a replica holds each request: capacity is concurrency, and load is mostly waiting."""
    settle_s: float
    """Of each rate, until Serve has the replicas that it wants."""
    measure_s: float
    start: float
    most: float
    seed: int = 0


async def check_idle() -> None:
    """Raises `CapacityError` if the machine has much else to do: then that would be measured."""
    if (busy := await _busy(LOOK_S)) > IDLE:
        raise CapacityError(
            f"{busy:.0%} of the machine is in use before there is any load, so that would be measured; end what else "
            "runs, or wait until regions have started"
        )


async def search(
    mode: str,
    supervisor: SupervisorClient,
    status: RunStatus,
    region: str,
    objectives: Objectives,
    settings: Settings,
    folder: Path,
    say: Callable[[str], None],
) -> Mode:
    """Finds what one mode carries. All is healed when it returns. Raises `TrafficFailed`, `OperationFailed`."""
    steps: list[Step] = []
    looking = Search(settings.start, settings.most)
    async with _alone(supervisor, status, region) if mode == ALONE else _together():
        while (rate := looking.next_rate()) is not None:
            say(f"{mode}: {rate:.1f} requests a second")
            seen = await _measure(status, region, rate, objectives, settings, folder, len(steps))
            judgement, why = judge(seen, objectives)
            steps.append(Step(seen, judgement, why))
            looking.saw(rate, judgement)
    return Mode(mode, tuple(steps), looking.found())


@asynccontextmanager
async def _together() -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _alone(supervisor: SupervisorClient, status: RunStatus, region: str) -> AsyncIterator[None]:
    """The region's links to all others are cut, so that its gateway has nobody to send to."""
    others = [name for name in status.regions if name != region]
    try:
        for other in others:
            await supervisor.cut(region, other)
        await asyncio.sleep(NOTICE_S)
        yield
    finally:
        for other in others:
            await supervisor.heal(region, other)
        await asyncio.sleep(NOTICE_S)


async def _measure(
    status: RunStatus,
    region: str,
    rate: float,
    objectives: Objectives,
    settings: Settings,
    folder: Path,
    number: int,
) -> Measured:
    """`number` makes other users come each time that a rate is measured."""
    load = Load(
        Shape(ShapeKind.STEADY, rate), (Way.ENTRY,), journey="quote", wait_ms=settings.wait_s * 1000.0
    )
    late_s = objectives.p99_s - settings.wait_s + LATE_S
    seconds = settings.settle_s + settings.measure_s + settings.wait_s + late_s
    url = status.regions[region].gateways[0].public_url
    seed = settings.seed + number
    async with Traffic(load, url, Path(status.topology_file), folder, seconds, seed) as traffic:
        begin_s = traffic.begin_s + settings.settle_s
        end_s = begin_s + settings.measure_s
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, begin_s - loop.time()))
        busy = await _busy(end_s - loop.time())
        await asyncio.sleep(settings.wait_s + late_s)
        traffic.check()
    return measured(rate, traffic.take(), begin_s, end_s, busy)


async def _busy(seconds: float) -> float:
    """The share of the machine's processor time that anybody uses from now on for so long."""
    processor = Processor()
    await asyncio.sleep(max(0.0, seconds))
    return processor.busy()
