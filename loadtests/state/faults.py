"""A seeded schedule of faults, one after the other, and how each is put on the regions and taken back."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import permutations
from random import Random

from loadtests.state.cells import Cells

log = logging.getLogger(__name__)


class FaultKind(StrEnum):
    KILL_STORE = "kill-store"
    KILL_AGENT = "kill-agent"
    KILL_BOTH = "kill-both"
    FREEZE_STORE = "freeze-store"
    FREEZE_AGENT = "freeze-agent"
    CUT_REGION = "cut-region"
    CUT_PAIR = "cut-pair"
    CUT_ONE_WAY = "cut-one-way"
    WIPE = "wipe"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a region (a cut link has its other end in `other`), for how long, and the quiet after it."""

    kind: FaultKind
    region: str
    other: str
    hold_s: float
    quiet_s: float


def schedule(chance: Random, regions: tuple[str, ...]) -> Iterator[Fault]:
    """For ever; every kind but a wipe comes before any comes again. Pure."""
    kinds = [kind for kind in FaultKind if kind is not FaultKind.WIPE]
    while True:
        for kind in chance.sample(kinds, len(kinds)):
            region, other = chance.choice(list(permutations(regions, 2)))
            yield Fault(kind, region, other, chance.uniform(0.3, 2.5), chance.uniform(0.3, 2.0))


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault that was, from `began` to `ended` (monotonic)."""

    fault: Fault
    began: float
    ended: float

    def __str__(self) -> str:
        return f"{self.fault.kind} in {self.fault.region} ({self.fault.other})"


@dataclass(slots=True)
class Faults:
    """Puts a schedule on running regions; one disk is lost on the way, when `wipe` is set."""

    cells: Cells
    chance: Random
    wipe: asyncio.Event = field(default_factory=asyncio.Event)
    done: Counter[FaultKind] = field(default_factory=Counter)
    wiped: set[str] = field(default_factory=set)
    troubles: list[Trouble] = field(default_factory=list)

    async def run(self, stop: asyncio.Event, planned: Iterable[Fault] | None = None) -> None:
        """Until `stop`, or all that is planned (None: as the schedule goes) is done; all is healed when it returns."""
        for fault in schedule(self.chance, self.cells.regions) if planned is None else planned:
            if self.wipe.is_set() and not self.wiped:
                await self.put(Fault(FaultKind.WIPE, fault.region, fault.other, 0.2, 1.0))
            if stop.is_set():
                return
            await self.put(fault)
            await _wait(stop, fault.quiet_s)

    async def put(self, fault: Fault) -> None:
        """One fault, from its begin to its end."""
        began = time.monotonic()
        await self._put(fault)
        self.troubles.append(Trouble(fault, began, time.monotonic()))

    async def _put(self, fault: Fault) -> None:
        cell = self.cells[fault.region]
        log.info("%s in %s for %.1f s", fault.kind, fault.region, fault.hold_s)
        self.done[fault.kind] += 1
        match fault.kind:
            case FaultKind.KILL_STORE | FaultKind.WIPE:
                if fault.kind is FaultKind.WIPE:
                    self.wiped.add(fault.region)
                    await cell.wipe()
                await cell.store.kill()
                await asyncio.sleep(fault.hold_s)
                await cell.store.start()
            case FaultKind.KILL_AGENT:
                await cell.agent.kill()
                await asyncio.sleep(fault.hold_s)
                await cell.agent.start()
            case FaultKind.KILL_BOTH:
                await asyncio.gather(cell.store.kill(), cell.agent.kill())
                await asyncio.sleep(fault.hold_s)
                await asyncio.gather(cell.store.start(), cell.agent.start())
            case FaultKind.FREEZE_STORE | FaultKind.FREEZE_AGENT:
                frozen = cell.store if fault.kind is FaultKind.FREEZE_STORE else cell.agent
                frozen.freeze()
                await asyncio.sleep(fault.hold_s)
                frozen.thaw()
            case FaultKind.CUT_REGION | FaultKind.CUT_PAIR | FaultKind.CUT_ONE_WAY:
                other = None if fault.kind is FaultKind.CUT_REGION else fault.other
                await self.cells.cut(fault.region, other, both_ways=fault.kind is not FaultKind.CUT_ONE_WAY)
                await asyncio.sleep(fault.hold_s)
                await self.cells.heal()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
