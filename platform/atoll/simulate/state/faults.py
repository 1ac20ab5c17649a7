"""Makes faults happen to simulated regions, and ends them."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from random import Random

from atoll.simulate.state.ledger import Ledger
from atoll.simulate.state.network import Path
from atoll.simulate.state.region import Region
from atoll.simulate.state.scenario import Fault, FaultKind, Scenario
from atoll.state.model import Snapshot

JUMP_S = 0.7
"""A clock that jumps does it this often."""

TAKES_UP_S = 0.5
"""Regions take up another topology within this time of each other."""


class Faults:
    """What the faults of a scenario act on."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        scenario: Scenario,
        regions: dict[str, Region],
        ledger: Ledger,
        chance: Random,
    ) -> None:
        self._loop = loop
        self._scenario = scenario
        self._regions = regions
        self._ledger = ledger
        self._chance = chance
        self._downs: dict[tuple[str, str], int] = {}
        self.members = scenario.founders

    def schedule(self) -> None:
        for fault in self._scenario.faults:
            begin, end = self._act(fault)
            self._loop.call_at(fault.at_s, begin)
            self._loop.call_at(fault.until_s, end)

    def _act(self, fault: Fault) -> tuple[Callable[[], None], Callable[[], None]]:
        region = self._regions[fault.region]
        match fault.kind:
            case FaultKind.CUT | FaultKind.CUT_ONE_WAY | FaultKind.ISOLATE:
                paths = list(self._paths(fault))
                return partial(_each, paths, Path.cut), partial(_each, paths, Path.heal)
            case FaultKind.SLOW:
                paths = list(self._paths(fault))
                return partial(_slow, paths, fault.amount), partial(_slow, paths, -fault.amount)
            case FaultKind.HALF_OPEN:
                return partial(_swallow, list(self._paths(fault))), _nothing
            case FaultKind.FREEZE:
                return region.freeze, region.thaw
            case FaultKind.AGENT_KILL:
                return partial(self._agent_down, region), partial(self._agent_up, region)
            case FaultKind.STORE_KILL:
                return partial(self._store_down, region), partial(self._store_up, region)
            case FaultKind.LOST_TAIL:
                lose = partial(region.lose_tail, int(fault.amount))
                return partial(self._store_down, region), partial(self._store_up, region, lose)
            case FaultKind.WIPE:
                return partial(self._store_down, region), partial(self._store_up, region, region.wipe)
            case FaultKind.OLD_DISK:
                return self._old_disk(region)
            case FaultKind.TRIM:
                return partial(_trim, region), partial(_trim, region)
            case FaultKind.SKEW:
                return partial(region.clock.jump, fault.amount), partial(region.clock.jump, 0.0)
            case FaultKind.JUMPS:
                return partial(self._jump, region, fault), partial(region.clock.jump, 0.0)
            case FaultKind.ADD:
                return partial(self._add, region), _nothing
            case FaultKind.REMOVE:
                return partial(self._remove, region), _nothing

    def _paths(self, fault: Fault) -> Iterator[Path]:
        for a, here in self._regions.items():
            for b, path in here.paths.items():
                if fault.kind is FaultKind.ISOLATE:
                    if fault.region in {a, b}:
                        yield path
                elif (a, b) == (fault.region, fault.other) or (
                    fault.kind is not FaultKind.CUT_ONE_WAY and (b, a) == (fault.region, fault.other)
                ):
                    yield path

    def _down(self, what: str, region: Region) -> bool:
        """Counts faults that keep a thing down; whether this is the first."""
        key = (what, region.name)
        self._downs[key] = self._downs.get(key, 0) + 1
        return self._downs[key] == 1

    def _up(self, what: str, region: Region) -> bool:
        key = (what, region.name)
        self._downs[key] -= 1
        return self._downs[key] == 0

    def _agent_down(self, region: Region) -> None:
        if self._down("agent", region) and region.replicator is not None:
            region.kill_agent()

    def _agent_up(self, region: Region) -> None:
        if self._up("agent", region) and region.name in self.members:
            region.start_agent()

    def _store_down(self, region: Region) -> None:
        if self._down("store", region):
            region.stop_store()

    def _store_up(self, region: Region, change: Callable[[], None] = lambda: None) -> None:
        change()
        if self._up("store", region):
            region.start_store()

    def _old_disk(self, region: Region) -> tuple[Callable[[], None], Callable[[], None]]:
        """The disk of the beginning is put back at the end, in the time that a restart takes."""
        kept: list[Snapshot] = []

        def begin() -> None:
            kept.append(region.model.snapshot())

        def end() -> None:
            self._store_down(region)
            self._loop.call_later(0.1, self._store_up, region, partial(region.restore, kept[0]))

        return begin, end

    def _jump(self, region: Region, fault: Fault) -> None:
        if self._loop.time() < fault.until_s - JUMP_S:
            region.clock.jump(self._chance.choice((0.0, fault.amount, -fault.amount)))
            self._loop.call_later(JUMP_S, self._jump, region, fault)

    def _add(self, region: Region) -> None:
        self.members = (*self.members, region.name)
        region.membership = self._scenario.membership(self.members)
        self._take_up()
        if not self._downs.get(("agent", region.name)):
            region.start_agent()

    def _remove(self, region: Region) -> None:
        self._ledger.removed[region.name] = self._loop.time()
        self.members = tuple(name for name in self.members if name != region.name)
        if region.replicator is not None:
            region.kill_agent()
        self._take_up()

    def _take_up(self) -> None:
        membership = self._scenario.membership(self.members)
        for name in self.members:
            self._loop.call_later(self._chance.random() * TAKES_UP_S, self._regions[name].use, membership)


def _each(paths: list[Path], act: Callable[[Path], None]) -> None:
    for path in paths:
        act(path)


def _slow(paths: list[Path], seconds: float) -> None:
    for path in paths:
        path.slowed_s = round(path.slowed_s + seconds, 9)


def _swallow(paths: list[Path]) -> None:
    for path in paths:
        for channel in path.half_open:
            channel.swallows = True


def _trim(region: Region) -> None:
    if not region.store_up:
        return
    last = region.model.vector().latest(region.name)
    if last is not None:
        region.model.trim(last)


def _nothing() -> None: ...
