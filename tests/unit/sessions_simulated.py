"""Clients with sessions in the simulator of replicated state: they go from region to region, and look at what they see.

The SDK's own code runs there, over stores that die, freeze and lose their disks.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import Any, cast

from tests.unit.shop_state import Registers

from atoll import state
from atoll.simulate.loop import VirtualLoop, run
from atoll.simulate.state.parts import PRODUCTION
from atoll.simulate.state.region import Region, StoreGate
from atoll.simulate.state.scenario import Fault, FaultKind, Scenario, generate
from atoll.simulate.state.world import Outcome, World
from atoll.state.errors import StateError, StoreUnavailable
from atoll.state.sdk.access import StateAccess
from atoll.state.sdk.admission import RegionIncomplete
from atoll.state.sdk.regional import RegionalState
from atoll.state.sdk.scope import entered
from atoll.state.session import SessionTokens
from atoll.state.store import Store
from atoll.state.vector import Vector
from atoll.state.wiring import NamespaceWiring
from atoll.topology import Behind, DataType, Durability, Level

CLIENTS = 6
PACE_S = 0.08
LOOK_S = 0.004
KINDS = frozenset(FaultKind) - {
    FaultKind.LOST_TAIL,  # a disk that doesn't keep what it acknowledged, and isn't known to be lost
    FaultKind.OLD_DISK,
    FaultKind.ADD,
    FaultKind.REMOVE,
}


class Admitted:
    """A region's store as its replicas have it: one that lost its disk lets nobody in before it has all back."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._gate = StoreGate(region)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any) -> Any:
            self.admit()
            try:
                found = await getattr(self._gate, name)(*arguments)
            except OSError as error:
                raise StoreUnavailable(str(error), sent=True) from error
            self._region.log_grew()
            return found

        return call

    def admit(self) -> None:
        if self._region.model.statistics().lost:
            raise RegionIncomplete(self._region.name)

    async def follow(self) -> AsyncIterator[Vector]:
        region = self._region
        boot = region.boot
        await region.awake()
        if not region.store_up:
            raise StoreUnavailable("it is down", sent=False)
        self.admit()
        seen = region.model.vector()
        yield seen
        while True:
            await asyncio.sleep(LOOK_S)
            await region.awake()
            if boot != region.boot:
                raise StoreUnavailable("it has died", sent=False)
            now = region.model.vector()
            if moved := seen.missing(now):
                own = now.latest(region.name)
                yield Vector(
                    (actor, seq) for actor, seq in moved.items() if own is None or actor != own.actor
                )
            seen = now


@dataclass
class Client:
    """One client: registers of its own, and what it has seen of them."""

    regions: dict[str, Region]
    replicas: dict[str, StateAccess]
    number: int
    chance: Random
    found: list[str]
    checks: int = 0
    token: str | None = None
    generation: int = 0
    values: "count[int]" = field(default_factory=lambda: count(1))
    seen: dict[str, int] = field(default_factory=dict)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / PACE_S))
            await self.chance.choice((self.write, self.pair, self.look, self.look))()

    async def write(self) -> None:
        await self.put(self.somewhere(), self.key("a"), next(self.values))

    async def pair(self) -> None:
        """Whoever sees the second write sees the first."""
        value, first, second = next(self.values), self.key("first"), self.key("second")
        if not (
            await self.put(self.somewhere(), first, value) and await self.put(self.somewhere(), second, value)
        ):
            return
        region = self.somewhere()
        stranger = Client(self.regions, self.replicas, self.number, self.chance, self.found)
        later = await stranger.get(region, second)
        earlier = await stranger.get(region, first)
        if later is not None and earlier is not None:
            self.judge("the first of two writes", region, first, earlier, later)

    async def look(self) -> None:
        region, key = self.somewhere(), self.key(self.chance.choice(("a", "first", "second")))
        if (found := await self.get(region, key)) is not None:
            self.judge("own writes and earlier reads", region, key, found, self.seen.get(key, 0))
            self.seen[key] = found

    def judge(self, what: str, region: str, key: str, found: int, wanted: int) -> None:
        """Of what went with a disk nothing is wanted: no region has it."""
        self.checks += 1
        held = max(_held(one, key) for one in self.regions.values())
        if found < min(wanted, held):
            now = self.regions[region].now()
            self.found.append(
                f"{now:.3f} s: {what}: {region} shows {found} of {key}, not {wanted}; one has {held}"
            )

    async def put(self, region: str, key: str, value: int) -> bool:
        try:
            await self.served(region, lambda: state.namespace("world").register(key, int).set(value))
        except StoreUnavailable as error:
            self.generation += error.sent
            return False
        except StateError:
            return False
        self.seen[key] = value
        return True

    async def get(self, region: str, key: str) -> int | None:
        try:
            found = await self.served(region, state.namespace("world").register(key, int).get)
        except StateError:
            return None
        return cast("int | None", found) or 0

    async def served(self, region: str, work: Callable[[], Awaitable[object]]) -> object:
        access = self.replicas[region]
        scope = access.scope(self.token)
        try:
            with entered(scope):
                return await work()
        finally:
            if scope.session.grown:
                self.token = await access.token(scope.session)

    def somewhere(self) -> str:
        return self.chance.choice(sorted(self.regions))

    def key(self, name: str) -> str:
        return f"{name}.{self.number}.{self.generation}"


def _held(region: Region, key: str) -> int:
    found = region.model.read_register("world", key)
    return 0 if found is None or found.payload is None else int(found.payload.rpartition(b":")[2])


class Sessions(World):
    """A run with such clients."""

    found: list[str]
    checks: int

    async def main(self) -> Outcome:
        regions, scenario, seed = self._regions, self._scenario, self._seed
        wiring = {
            name: NamespaceWiring(
                Level.SESSION, tuple(DataType), Durability.REGION, scenario.regions, Behind.ELSEWHERE
            )
            for name in ("world", "news")
        }
        replicas = {}
        for name, region in regions.items():
            store = Admitted(region)
            regional = RegionalState(
                name, wiring, cast("Store", store), store.follow, Registers(), region.clock, Random(seed)
            )
            replicas[name] = StateAccess(regional, SessionTokens(b"key"), region.clock, regional.close)
        self.found = []
        clients = [
            Client(regions, replicas, number, Random(f"{seed} session {number}"), self.found)
            for number in range(CLIENTS)
        ]
        tasks = [self._loop.create_task(one.run()) for one in clients]
        outcome = await super().main()
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        self.found += [repr(error) for error in ended if not isinstance(error, asyncio.CancelledError)]
        self.checks = sum(one.checks for one in clients)
        for access in replicas.values():
            with contextlib.suppress(asyncio.CancelledError):
                await access.close()
        return outcome


def sessions(seed: int) -> tuple[list[str], int, Scenario]:
    """What clients saw that their sessions forbid, how often they looked, and the run's faults."""
    loop = VirtualLoop()
    scenario = wiped(seed)
    world = Sessions(loop, scenario, seed, PRODUCTION)
    run(loop, world.main())
    return world.found, world.checks, scenario


def wiped(seed: int) -> Scenario:
    """A scenario with a lost disk in it, and all regions holding everything."""
    chance = Random(f"wiped {seed}")
    drawn = generate(seed, most=4)
    faults = [fault for fault in drawn.faults if fault.kind in KINDS - {FaultKind.WIPE}]
    at_s = chance.uniform(1.0, 4.0)
    faults.append(
        Fault(FaultKind.WIPE, chance.choice(drawn.regions), at_s, at_s + chance.choice((0.001, 0.5)))
    )
    if chance.random() < 0.7:
        a, b = chance.sample(drawn.regions, 2)
        kind = chance.choice((FaultKind.CUT, FaultKind.ISOLATE, FaultKind.FREEZE, FaultKind.AGENT_KILL))
        faults.append(Fault(kind, a, max(0.1, at_s - 0.5), at_s + chance.choice((0.2, 1.0, 2.0)), b))
    return replace(
        drawn,
        holds=dict.fromkeys(drawn.regions, frozenset({"world", "news"})),
        faults=tuple(sorted(faults, key=lambda fault: fault.at_s)),
        settings=replace(drawn.settings, fence_s=3600.0),
        embedded=True,
    )
