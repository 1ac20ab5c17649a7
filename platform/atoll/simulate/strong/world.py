"""One seeded run of strong registers: the cores and their driver as they are, a network and stores that fail.

Regions have an acceptor and a proposer each; clients ask proposers, the home or any other, and ask again under the same
operation id when they get no outcome. Meanwhile messages are lost, doubled, late and out of order, regions are cut
off, acceptors and proposers die and come back, a store is wiped, and members join and leave.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from atoll.simulate.loop import VirtualLoop, run
from atoll.simulate.strong.history import Changed, Event, Got, Operation, judge
from atoll.simulate.strong.linearizable import Call, Verdict
from atoll.state.strong.acceptor import Acceptor
from atoll.state.strong.backend import (
    ABSENT,
    ANY,
    DELETE,
    Change,
    Conflict,
    Expect,
    Outcome,
    StrongError,
    Unknown,
    Versioned,
)
from atoll.state.strong.ballot import Ballots
from atoll.state.strong.home import order
from atoll.state.strong.membership import Member, MembershipError
from atoll.state.strong.messages import Register, Reply, Request
from atoll.state.strong.proposer import Proposer
from atoll.state.strong.reconfiguration import Reconfiguration
from atoll.state.strong.register import REMEMBERED
from atoll.state.strong.registers import (
    Acceptors,
    Registers,
    RegistersPolicy,
    RegistersStatistics,
    Unreachable,
)

NAMESPACE = "stock"
ASK_S = 1.0
"""How long a request is waited for."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run is made of; negative controls put something broken in."""

    acceptor: Callable[[], Acceptor] = Acceptor
    proposer: Callable[[Register, Ballots], Proposer] = Proposer
    reconfiguration: Callable[[str, Registers, Acceptors], Reconfiguration] = Reconfiguration
    remembered: int = REMEMBERED
    wiped_keeps_identity: bool = False


PRODUCTION = Parts()


@dataclass(frozen=True, slots=True)
class Shape:
    """How much of what a run has; drawn from the seed where None."""

    acceptors: int | None = None
    faults: int | None = None
    loss: float | None = None
    membership: bool | None = None
    wipe: bool | None = None
    operations: int = 12
    """A client."""
    clients: int = 4
    keys: int = 2
    homely: float | None = None
    """How often a client asks the key's home first."""
    turns: float = 0.3
    """How often a client takes turns, without coming back for its own."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a seed."""

    seed: int
    verdicts: Mapping[str, Verdict[Operation]]
    events: tuple[Event, ...]
    unavailable: int
    """Operations that certainly were not done."""
    faults: tuple[str, ...]
    statistics: tuple[RegistersStatistics, ...]
    """Of every proposer that ever was."""
    virtual_s: float

    @property
    def linearizable(self) -> bool:
        return all(verdict.linearizable for verdict in self.verdicts.values())

    @property
    def unknown(self) -> int:
        """Operations whose outcome nobody was told."""
        return sum(event.call.returned is None for event in self.events)


def simulate(seed: int, parts: Parts = PRODUCTION, shape: Shape | None = None) -> Result:
    """Runs one seed. The same seed, parts and shape always give the same result."""
    loop = VirtualLoop()
    world = World(seed, parts, shape or Shape(), loop)
    run(loop, world.main())
    return Result(
        seed=seed,
        verdicts=judge(world.events),
        events=tuple(world.events),
        unavailable=world.unavailable,
        faults=tuple(world.faults),
        statistics=tuple(world.statistics),
        virtual_s=loop.clock.now,
    )


@dataclass(slots=True)
class Host:
    """A region's acceptor."""

    acceptor: Acceptor
    up: bool = True


@dataclass(slots=True)
class Site:
    """A region's proposer, while it lives."""

    region: str
    boots: int = 0
    registers: Registers | None = None


@dataclass(frozen=True, slots=True)
class Rough:
    """Shares of messages that are lost, that come twice, and that take up to three seconds."""

    loss: float = 0.0
    double: float = 0.0
    late: float = 0.0


@dataclass(slots=True)
class Network:
    """Messages between regions."""

    chance: Random
    loop: asyncio.AbstractEventLoop
    hosts: dict[str, Host]
    base_s: dict[frozenset[str], float]
    rough: Rough
    cut: set[str] = field(default_factory=set)
    """Regions that hear nobody else."""

    async def ask(self, source: str, region: str, request: Request) -> Reply:
        reply: asyncio.Future[Reply] = self.loop.create_future()
        for _ in range(2 if self.chance.random() < self.rough.double else 1):
            self._send(source, region, lambda: self._arrive(source, region, request, reply))
        try:
            async with asyncio.timeout(ASK_S):
                return await reply
        except TimeoutError:
            raise Unreachable(f"no answer within {ASK_S:g} s") from None

    def _send(self, source: str, target: str, arrive: Callable[[], None]) -> None:
        if source == target:
            self.loop.call_later(0.0005, arrive)
            return
        if self.chance.random() < self.rough.loss:
            return
        delay = self.base_s[frozenset((source, target))] * self.chance.uniform(0.5, 1.5)
        if self.chance.random() < self.rough.late:
            delay += self.chance.uniform(0.0, 3.0)

        def over() -> None:
            if not self.cut & {source, target}:
                arrive()

        self.loop.call_later(delay, over)

    def _arrive(self, source: str, region: str, request: Request, reply: asyncio.Future[Reply]) -> None:
        host = self.hosts[region]
        if not host.up:
            return
        answer = host.acceptor.answer(request)

        def back() -> None:
            if not reply.done():
                reply.set_result(answer)

        self._send(region, source, back)


@dataclass(frozen=True, slots=True)
class From:
    """The way to the acceptors, as one region has it."""

    region: str
    network: Network

    async def ask(self, region: str, request: Request) -> Reply:
        return await self.network.ask(self.region, region, request)


class World:
    """A run."""

    def __init__(self, seed: int, parts: Parts, shape: Shape, loop: asyncio.AbstractEventLoop) -> None:
        chance = Random(f"strong {seed}")
        self._chance = chance
        self._turns = Random(f"turns {seed}")
        self._parts = parts
        self._shape = shape
        self._loop = loop
        count = shape.acceptors or chance.choice((3, 3, 3, 5))
        self._regions = [f"r{number}" for number in range(count + 2)]
        self._founders = self._regions[:count]
        hosts = {region: Host(parts.acceptor()) for region in self._regions}
        bases = {
            frozenset((a, b)): chance.uniform(0.005, 0.12)
            for a in self._regions
            for b in self._regions
            if a != b
        }
        loss = chance.choice((0.0, 0.02, 0.1, 0.2)) if shape.loss is None else shape.loss
        rough = Rough(loss, chance.choice((0.0, 0.05, 0.2)), chance.choice((0.0, 0.02, 0.1)))
        self._network = Network(chance, loop, hosts, bases, rough)
        self._sites = {region: Site(region) for region in self._regions}
        self._identities = 0
        self._homely = chance.choice((0.0, 0.5, 0.95)) if shape.homely is None else shape.homely
        self._keys = [f"key-{number}" for number in range(shape.keys)]
        self.events: list[Event] = []
        self.unavailable = 0
        self.faults: list[str] = []
        self.statistics: list[RegistersStatistics] = []

    async def main(self) -> None:
        chance = self._chance
        for region in self._regions:
            self._open(region)
        rough, self._network.rough = self._network.rough, Rough()
        for region in self._regions:
            await self._boot(region)
        await self._reconfiguration(self._founders[0]).found(self._founders)
        for region in self._regions:
            await self._reconfiguration(region).learn(self._founders)
        self._network.rough = rough
        clients = [
            asyncio.create_task(self._client(number, self._shape.operations))
            for number in range(self._shape.clients)
        ]
        faults = asyncio.create_task(self._faults())
        await asyncio.gather(*clients)
        await faults
        self._heal()
        await asyncio.sleep(4.0)
        for region in chance.sample(self._regions, 2):
            for key in self._keys:
                await self._last_read(region, key)
        for site in self._sites.values():
            await self._crash(site)

    # --- Regions

    def _open(self, region: str) -> None:
        self._identities += 1
        self._network.hosts[region].acceptor.open(f"i{self._identities}")

    async def _boot(self, region: str) -> None:
        site = self._sites[region]
        site.boots += 1
        name = f"{region}.{site.boots}"
        policy = RegistersPolicy(timeout_s=3.0, round_s=0.8, remembered=self._parts.remembered)
        site.registers = Registers(
            From(region, self._network), name, self._chance, policy, self._parts.proposer
        )
        if site.boots > 1:
            for _ in range(60):
                if self._dead(region) or await self._reconfiguration(region).learn(self._regions):
                    return
                await asyncio.sleep(0.5)

    def _dead(self, region: str) -> bool:
        return self._sites[region].registers is None

    async def _crash(self, site: Site) -> None:
        registers, site.registers = site.registers, None
        if registers is not None:
            self.statistics.append(registers.statistics())
            await registers.close()

    def _reconfiguration(self, region: str) -> Reconfiguration:
        registers = self._sites[region].registers
        if registers is None:
            raise Unreachable(f"{region} is down")
        return self._parts.reconfiguration(NAMESPACE, registers, From(region, self._network))

    def _heal(self) -> None:
        self._network.cut.clear()
        self._network.rough = Rough()
        for host in self._network.hosts.values():
            host.up = True

    # --- Clients

    async def _client(self, number: int, operations: int) -> None:
        chance = self._chance
        known: dict[str, Versioned | None] = {}
        for turn in range(operations):
            await asyncio.sleep(chance.choice((0.0, chance.uniform(0.0, 0.6))))
            key = chance.choice(self._keys)
            if chance.random() < 0.35:
                await self._get(key, known)
                continue
            value = f"{number}.{turn}".encode()
            at_hand = known.get(key)
            expect: int | Expect
            if at_hand is not None and chance.random() < 0.6:
                expect = at_hand.version
            else:
                expect = chance.choice((ABSENT, ANY, ANY))
            written = DELETE if chance.random() < 0.12 else value
            caller = f"client-{number}" if self._turns.random() < self._shape.turns else ""
            stands_for = self._turns.choice((1, 1, 3))
            change = Change(expect, written, f"op-{number}-{turn}", stands_for, caller)
            await self._change(key, change, known)

    async def _get(self, key: str, known: dict[str, Versioned | None]) -> None:
        called = self._loop.time()
        for registers in self._asked(key):
            try:
                known[key] = found = await registers.get(NAMESPACE, key, timeout_s=2.0)
            except StrongError:
                continue
            self._note(key, Got(found), called, self._loop.time())
            return

    async def _change(self, key: str, change: Change, known: dict[str, Versioned | None]) -> None:
        called = self._loop.time()
        unknown = False
        for registers in self._asked(key):
            outcome: Outcome
            try:
                outcome = await registers.change(
                    NAMESPACE, key, change, timeout_s=self._chance.choice((0.15, 0.5, 3.0))
                )
            except Unknown:
                unknown = True
                continue
            except StrongError:
                continue
            self._note(key, Changed(change, outcome), called, self._loop.time())
            if isinstance(outcome, Conflict):
                known[key] = outcome.current
            elif isinstance(change.value, bytes):
                known[key] = Versioned(outcome.version, change.value)
            return
        if unknown:
            self._note(key, Changed(change, None), called, None)
        else:
            self.unavailable += 1

    def _asked(self, key: str) -> list[Registers]:
        """Up to three proposers, that of the home first if the client goes by it."""
        regions = list(order(Register(NAMESPACE, key), self._founders))
        if self._chance.random() >= self._homely:
            self._chance.shuffle(regions)
        live = [self._sites[region].registers for region in regions]
        return [registers for registers in live if registers is not None][:3]

    async def _last_read(self, region: str, key: str) -> None:
        for _ in range(20):
            registers = self._sites[region].registers
            called = self._loop.time()
            if registers is not None:
                try:
                    found = await registers.get(NAMESPACE, key, timeout_s=10.0)
                except StrongError:
                    pass
                else:
                    self._note(key, Got(found), called, self._loop.time())
                    return
            await asyncio.sleep(0.5)

    def _note(self, key: str, operation: Operation, called: float, returned: float | None) -> None:
        self.events.append(Event(key, Call(operation, called, returned)))

    # --- Faults

    async def _faults(self) -> None:
        chance, shape = self._chance, self._shape
        tasks = []
        count = chance.randint(0, 5) if shape.faults is None else shape.faults
        for _ in range(count):
            await asyncio.sleep(chance.uniform(0.0, 1.5))
            fault = chance.choice((self._lose_acceptor, self._lose_proposer, self._cut_off))
            tasks.append(asyncio.create_task(fault(chance.choice(self._founders))))
        if chance.random() < 0.4 if shape.wipe is None else shape.wipe:
            tasks.append(asyncio.create_task(self._wipe(chance.choice(self._founders))))
        elif chance.random() < 0.4 if shape.membership is None else shape.membership:
            tasks.append(asyncio.create_task(self._grow()))
        await asyncio.gather(*tasks)

    async def _lose_acceptor(self, region: str) -> None:
        self.faults.append(f"acceptor of {region} down")
        self._network.hosts[region].up = False
        await asyncio.sleep(self._chance.uniform(0.2, 3.0))
        self._network.hosts[region].up = True

    async def _lose_proposer(self, region: str) -> None:
        self.faults.append(f"proposer of {region} restarted")
        await self._crash(self._sites[region])
        await asyncio.sleep(self._chance.uniform(0.0, 1.0))
        if self._sites[region].registers is None:
            await self._boot(region)

    async def _cut_off(self, region: str) -> None:
        self.faults.append(f"{region} cut off")
        self._network.cut.add(region)
        await asyncio.sleep(self._chance.uniform(0.2, 3.0))
        self._network.cut.discard(region)

    async def _wipe(self, region: str) -> None:
        """The store's disk is lost; it comes back empty, and joins as a new member in place of the old one."""
        self.faults.append(f"store of {region} wiped")
        host = self._network.hosts[region]
        old = host.acceptor.identity
        assert old is not None
        standings = host.acceptor.standings
        host.acceptor = self._parts.acceptor()
        if self._parts.wiped_keeps_identity:
            host.acceptor.open(old)
            host.acceptor.standings = standings
            return
        self._open(region)
        new = host.acceptor.identity
        assert new is not None
        await asyncio.sleep(self._chance.uniform(0.0, 1.5))
        await self._until_done(_join, Member(region, new), inside=True)
        await self._until_done(_leave, Member(region, old), inside=False)

    async def _grow(self) -> None:
        """Two more regions join, one after the other; then, perhaps, two leave."""
        self.faults.append("members join")
        for region in self._regions[len(self._founders) :]:
            identity = self._network.hosts[region].acceptor.identity
            assert identity is not None
            if len(self._founders) == 5 and region == self._regions[-1]:
                break
            member = Member(region, identity)
            await self._until_done(_join, member, inside=True)
        for region in self._chance.sample(self._founders, self._chance.choice((0, 1, 2))):
            identity = self._network.hosts[region].acceptor.identity
            assert identity is not None
            member = Member(region, identity)
            await self._until_done(_leave, member, inside=False)

    async def _until_done(
        self, step: Callable[[Reconfiguration, Member], Awaitable[object]], member: Member, *, inside: bool
    ) -> None:
        """Tries a change of the members from one region after another, as operators and agents would."""
        for _ in range(30):
            region = self._chance.choice(self._founders)
            try:
                change = self._reconfiguration(region)
                configuration = await change.finish()
                if (member in configuration.members) == inside:
                    return
                await step(change, member)
            except (StrongError, MembershipError, Unreachable):
                await asyncio.sleep(self._chance.uniform(0.1, 0.8))


async def _join(change: Reconfiguration, member: Member) -> None:
    await change.join(member)


async def _leave(change: Reconfiguration, member: Member) -> None:
    await change.leave(member)
