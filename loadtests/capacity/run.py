"""Measures one rate after the other on the run of this folder: one region's gateway, alone and with the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from atoll.cell.client import SupervisorClient
from atoll.cell.status import RunStatus
from loadtests.capacity.objectives import Measured, Objectives, judge, measured
from loadtests.capacity.report import Mode, Step
from loadtests.capacity.search import Search
from loadtests.capacity.settling import LONGEST_S, Settling
from loadtests.drills.processor import Processor
from loadtests.drills.record import Way
from loadtests.drills.scenario import Load, Shape, ShapeKind
from loadtests.drills.traffic import Traffic

ALONE = "local region alone"
SPILL = "with spill"
NOTICE_S = 5.0
"""What was cut is known to all gateways by then (`health.silence` and a probe)."""
LOOK_S = 1.0
"""So often a run is asked for its replicas while a load settles; not while it is measured."""
LATE_S = 1.0
"""So long above the objective the load goes on after what is measured, so that what is late is late, not cut off."""


class Progress(Protocol):
    """Is told how far a search is."""

    def begins(self, mode: str, rate: float) -> None:
        """This rate is measured from now on."""

    def ended(self, mode: str, step: Step) -> None:
        """That was seen."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a rate is measured."""

    wait_s: float
    """For so long a replica holds each request: capacity is concurrency, and load is mostly waiting."""
    settle_s: float
    """So long at least no rate is measured; and not before Serve has the replicas that it wants for it."""
    measure_s: float
    start: float
    most: float
    seed: int = 0

    def seconds(self, p99_s: float) -> float:
        """How long one rate takes at least, from its first request to the last that may still be answered."""
        return self.settle_s + self.measure_s + self.after_s(p99_s)

    def after_s(self, p99_s: float) -> float:
        """So long the load goes on after what is measured."""
        return p99_s + LATE_S


async def search(
    mode: str,
    supervisor: SupervisorClient,
    status: RunStatus,
    region: str,
    objectives: Objectives,
    settings: Settings,
    folder: Path,
    progress: Progress,
) -> Mode:
    """Finds what one mode carries. All is healed when it returns. Raises `TrafficFailed`, `OperationFailed`."""
    steps: list[Step] = []
    looking = Search(settings.start, settings.most)
    async with _alone(supervisor, status, region) if mode == ALONE else _together():
        while (rate := looking.next_rate()) is not None:
            progress.begins(mode, rate)
            seen = await _measure(supervisor, status, region, rate, objectives, settings, folder, len(steps))
            judgement, why = judge(seen, objectives)
            steps.append(Step(seen, judgement, why))
            progress.ended(mode, steps[-1])
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
    supervisor: SupervisorClient,
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
    seconds = settings.seconds(objectives.p99_s) + LONGEST_S
    url = status.regions[region].gateways[0].public_url
    seed = settings.seed + number
    async with Traffic(load, url, Path(status.topology_file), folder, seconds, seed) as traffic:
        begin_s = await _settled(supervisor, Settling(traffic.begin_s, settings.settle_s))
        end_s = begin_s + settings.measure_s
        busy = await _busy(settings.measure_s)
        await asyncio.sleep(settings.after_s(objectives.p99_s))
        traffic.check()
    return measured(rate, traffic.take(), begin_s, end_s, busy)


async def _settled(supervisor: SupervisorClient, settling: Settling) -> float:
    """Returns when a load has settled, and when that was."""
    loop = asyncio.get_running_loop()
    while True:
        if settling.saw(loop.time(), await supervisor.status(memory=False)):
            return loop.time()
        await asyncio.sleep(LOOK_S)


async def _busy(seconds: float) -> float:
    """The share of the machine's processor time that anybody uses from now on for so long."""
    processor = Processor()
    await asyncio.sleep(max(0.0, seconds))
    return processor.busy()
