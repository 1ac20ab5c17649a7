"""A simulated region: its clock, its store behind a gate that faults can shut, its agent and its clients."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, cast

from atoll.channel import Wire
from atoll.simulate.loop import VirtualClock
from atoll.simulate.state.clock import RegionClock
from atoll.simulate.state.ledger import Ledger, Written
from atoll.simulate.state.network import CONNECT_S, Channel, Path
from atoll.simulate.state.parts import Parts
from atoll.simulate.state.scenario import Scenario
from atoll.state.errors import StateError
from atoll.state.kind import Kind
from atoll.state.model import AsyncModelStore, Snapshot
from atoll.state.operation import Write
from atoll.state.operation import decode as decode_operation
from atoll.state.replication import Membership, PeerLost, Replicator
from atoll.state.replication.messages import AskCells, AskListings, LogBatch, decode
from atoll.state.store import Change, LogSlice, SetChange, Store
from atoll.state.vector import NOTHING, Dot, Vector, epoch_of

IDENTITY = "simulated"
WRITES = frozenset({"open", "heartbeat", "expire"})
"""Commands that log something; clients' writes have their own way."""

OPERATION_S = 0.0004
"""What a command takes at most, each way."""


class StoreGate:
    """A store as clients and agent see it: it takes time, may be down or frozen, and what it does is noted.

    A command is executed between two moments of waiting; a server that dies in the second leaves an unknown outcome.
    Of use to a session of the agent (`with`), it ends with the server: another one of the region's is not asked.
    """

    def __init__(self, region: "Region") -> None:
        self._region = region
        self._boot: int | None = None

    async def __aenter__(self) -> Store:
        if not self._region.parts.outlives_server:
            self._boot = self._region.boot
        return cast("Store", self)

    async def __aexit__(self, *_: object) -> None: ...

    async def _reached(self) -> int:
        boot = self._region.boot if self._boot is None else self._boot
        await self._region.reached(boot)
        return boot

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if name == "read_log":
            return self._read_log

        async def call(*args: Any, **kwargs: Any) -> Any:
            region = self._region
            boot = await self._reached()
            result = await getattr(region.store, name)(*args, **kwargs)
            if name in WRITES:
                region.log_grew()
            if name == "acked":
                region.ledger.copied(region.name, args[0], args[1], region.now())
            await region.answered(boot)
            return result

        return call

    async def _read_log(self, after: Dot | None, count: int, block_s: float = 0.0) -> LogSlice:
        """As the store's, but woken by what is logged alone."""
        region = self._region
        boot = await self._reached()
        end = region.now() + block_s
        while True:
            found = region.model.read_log(after, count)
            left = end - region.now()
            if found.entries or found.gap or left <= 0:
                await region.answered(boot)
                return found
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await region.growth.wait()
            if boot != region.boot:
                raise ConnectionResetError(f"the store of {region.name} has died")


class Region:
    """One region of a run."""

    def __init__(
        self,
        name: str,
        scenario: Scenario,
        parts: Parts,
        clock: VirtualClock,
        ledger: Ledger,
        chance: Random,
        leaks: Callable[[str], None],
    ) -> None:
        self.name = name
        self.scenario = scenario
        self.parts = parts
        self.now = clock_now(clock)
        self.clock = RegionClock(clock, scenario.skews.get(name, 0.0))
        self.ledger = ledger
        self.chance = chance
        self.model = parts.store(self.clock, history=64)
        self.store = AsyncModelStore(self.model)
        self.growth = asyncio.Event()
        self.gate = cast("Store", StoreGate(self))
        self.paths: dict[str, Path] = {}
        """Ways to the other regions."""
        self.regions: dict[str, Region] = {}
        self.membership = scenario.membership(scenario.founders)
        self.boot = 0
        """Starts of the store's server."""
        self.epoch = 0
        """The last one that the warden began."""
        self.store_up = True
        self.started_s = 0.0
        """When the server started."""
        self.replicator: Replicator | None = None
        self.frozen = 0
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._channels: set[Channel] = set()
        self._leaks = leaks

    # --- Agent

    def start_agent(self) -> None:
        """A new agent process: it knows nothing but its settings."""
        assert self.replicator is None
        if self.store_up:
            self._warden_opens()
        self.replicator = Replicator(
            self.name,
            IDENTITY,
            lambda: StoreGate(self),
            self,
            self.membership,
            self.clock,
            self.chance,
            self.scenario.settings,
            self.parts.replication,
        )
        self._spawn(self.replicator.run())

    def kill_agent(self) -> None:
        """The process ends wherever it is."""
        self.replicator = None
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        for channel in self._channels:
            channel.abort()
        self._channels.clear()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._leaks(f"an agent's task of {self.name} ended with {error!r}")

    # --- Its peers, as `Peers`

    async def open(self, region: str) -> Channel:
        """Connects to the agent of `region`."""
        there, here = self.regions[region], self
        try:
            async with asyncio.timeout(CONNECT_S):
                await self.paths[region].carry()
                await there.awake()
                await there.paths[self.name].carry()
        except TimeoutError as error:
            raise PeerLost(f"{region} can't be reached") from error
        if there.replicator is None:
            raise PeerLost(f"{region} refuses the connection")
        ours = Channel(self.paths[region], self.awake, here.sees)
        theirs = Channel(there.paths[self.name], there.awake, there.sees)
        ours.other, theirs.other = theirs, ours
        self.paths[region].half_open = [*self.paths[region].half_open[-20:], ours, theirs]
        self._channels.add(ours)
        there.accept(theirs)
        return ours

    def accept(self, channel: Channel) -> None:
        """A peer has connected."""
        assert self.replicator is not None
        self._channels.add(channel)
        self._spawn(self.replicator.serve(channel))

    async def ask(self, region: str, question: Wire) -> Wire:
        """Asks the agent of `region`."""
        there = self.regions[region]
        await self.paths[region].carry()
        await there.awake()
        if there.replicator is None:
            raise PeerLost(f"{region} refuses the connection")
        try:
            answer = await there.replicator.answer(self.name, question)
        except (StateError, OSError) as error:
            raise PeerLost(f"{region} could not answer: {error}") from error
        match decode(question):
            case AskListings(namespace=namespace) | AskCells(namespace=namespace):
                self._may_hold(namespace, "an answer")
        await there.paths[self.name].carry()
        await self.awake()
        return answer

    def sees(self, message: Wire) -> None:
        """Looks at what arrives: nothing may come here that must not be here."""
        found = decode(message)
        if isinstance(found, LogBatch):
            for _, data in found.batch.entries:
                operation = decode_operation(data)
                if isinstance(operation, Write):
                    self._may_hold(operation.namespace, "a message")

    def _may_hold(self, namespace: str, what: str) -> None:
        if namespace not in self.scenario.holds[self.name]:
            self._leaks(f"{what} brought {namespace} to {self.name}")

    # --- Store

    async def reached(self, boot: int) -> None:
        """A moment passes until a command reaches the store, or its answer the client."""
        await asyncio.sleep(self.chance.random() * OPERATION_S)
        await self.awake()
        if not self.store_up or boot != self.boot:
            raise ConnectionRefusedError(f"the store of {self.name} is down")

    async def answered(self, boot: int) -> None:
        """As `reached`, on the way back; mostly at once."""
        if self.chance.random() < 0.2:
            await self.reached(boot)
        elif not self.store_up or boot != self.boot:
            raise ConnectionResetError(f"the store of {self.name} has died")

    def log_grew(self) -> None:
        """Wakes those who read the log."""
        self.growth.set()
        self.growth = asyncio.Event()

    def stop_store(self) -> None:
        """The server dies; what it acknowledged is on its disk."""
        self.store_up = False
        self.boot += 1
        self.model.crash()
        self.store.changed()
        self.log_grew()

    def start_store(self) -> None:
        self.store_up = True
        self.started_s = self.now()
        self._warden_opens()

    def _warden_opens(self) -> None:
        """An embedded store is opened at once; the agent may not have noticed that it was gone."""
        if self.scenario.embedded and not self.model.statistics().actor:
            opened = self.model.open(self.name, IDENTITY, floor=self.epoch)
            self.epoch = epoch_of(opened.actor)
            self.store.changed()
            self.log_grew()

    def wipe(self) -> None:
        self.model.wipe()
        self._disk_lost()

    def restore(self, snapshot: Snapshot) -> None:
        self.model.restore(snapshot)
        self._disk_lost()

    def lose_tail(self, commands: int) -> None:
        for count in range(commands, 0, -1):
            try:
                self.model.lose_tail(count)
            except ValueError:
                continue
            break
        self._disk_lost()

    def _disk_lost(self) -> None:
        self.ledger.disk_lost(self.name, self.model.vector(), self.now())

    async def write(
        self, namespace: str, kind: Kind, key: str, change: Change, deps: Vector = NOTHING
    ) -> Written:
        """A client's write. Raises what the store raises, and `ConnectionRefusedError` for an unknown outcome too."""
        boot = self.boot
        await self.reached(boot)
        known = self.model.vector()
        observed: frozenset[Dot] = frozenset()
        if isinstance(change, SetChange):
            observed = self.model.read_element(namespace, key, change.element).live
        result = self.model.write(namespace, kind, key, (change,), deps)
        self.log_grew()
        written = self.ledger.wrote(
            self.name, namespace, kind, key, change, result, known, observed, self.now(), deps
        )
        await self.answered(boot)
        written.acknowledged_s = self.now()
        return written

    # --- Freezing

    def freeze(self) -> None:
        self.frozen += 1
        self._thawed.clear()

    def thaw(self) -> None:
        self.frozen -= 1
        if not self.frozen:
            self._thawed.set()

    async def awake(self) -> None:
        """Returns when the region is not frozen."""
        while self.frozen:
            await self._thawed.wait()

    def use(self, membership: Membership) -> None:
        """The region takes up another topology."""
        self.membership = membership
        if self.replicator is not None:
            self.replicator.use(membership)


def clock_now(clock: VirtualClock) -> Callable[[], float]:
    """The run's time."""
    return lambda: clock.now
