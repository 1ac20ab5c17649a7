"""One region's processes together: their start side by side, their end in order, faults on them."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from random import Random

from atoll.cell.ahead import FollowedTopology, RaisesAhead
from atoll.cell.board import Board
from atoll.cell.gateway_view import GatewayView, GatewayViews
from atoll.cell.managed import ManagedProcess, ProcessSpec
from atoll.cell.paths import RegionPaths, RunPaths
from atoll.cell.progress import StepState
from atoll.cell.ray_unit import NAMES, WHOLE, RayUnit
from atoll.cell.replica_faults import REPLICA, ReplicaFaults
from atoll.cell.requests import Fault, FaultRequest
from atoll.cell.serve_set import ServeSet
from atoll.cell.specs import agent_spec, gateway_spec, ray_settings, serve_settings, store_spec, wire_agent
from atoll.cell.state_files import take_up
from atoll.cell.store_faults import StoreFaults, embedded_stores
from atoll.cell.valkey import StoreKind
from atoll.cell.wiring import WardenConfig, dashboard
from atoll.clock import Clock
from atoll.secrets import read_secret
from atoll.serve.ahead import AheadStatistics
from atoll.serve.client import ServeError
from atoll.serve.code import CodeNotFound
from atoll.serve.deploy import Deployed, DeployProgress, NothingToRollBack
from atoll.serve.store import SetStore, SetStoreError
from atoll.stores import StoreRefused, connect_url, ping
from atoll.topology import SuccessionError, Topology, TopologyError, check_running, load

SERVE_END_S = 25.0
"""How long Serve may take to drain its replicas and end before Ray is ended under it."""

STARTS_BEFORE_FAILURE = 3
"""A process that ended this often without ever having been ready won't become so by waiting."""

RAY_STARTS_BEFORE_FAILURE = 2
"""Each takes up to a minute and a half."""

POLL_S = 0.5
RAY = "Ray"
SERVICES = "services"

log = logging.getLogger(__name__)


class NoSuchProcess(Exception):
    """A fault names a process that the cell doesn't have; says which it has."""


class DeployFailed(Exception):
    """The region does not run the wanted applications, for the reason told."""


class Cell:
    """Everything of one region. Call `run` once."""

    def __init__(self, config: WardenConfig, topology: Topology, clock: Clock, random: Random) -> None:
        """Writes the files that the processes are started with. Raises `SecretError`, `NoEmbeddedValkey`,
        `SuccessionError`, `OSError`.
        """
        self._config = config
        self._topology = topology
        self._clock = clock
        self._random = random
        self._restore = config.restore
        self._views = GatewayViews(read_secret(RunPaths(config.root).admin_token))
        self._ready = asyncio.Event()
        self._failed = asyncio.Event()
        self._failure = ""
        self.board = Board(clock, config.region)
        self.serve = ServeSet(
            config.region,
            dashboard(config.ports),
            self.paths.ray_token,
            SetStore(self.paths.serve_applied, self.paths.serve_good),
            serve_settings(config),
            clock,
        )
        take_up(config, topology)
        region = topology.regions[config.region]
        embedded = [
            kind
            for kind, url in ((StoreKind.CACHE, region.stores.cache), (StoreKind.STATE, region.stores.state))
            if url is None
        ]
        self._external = [url for url in (region.stores.cache, region.stores.state) if url is not None]
        self._stores = [self._managed(store_spec(config, kind)) for kind in embedded]
        self._gateways = [
            self._managed(gateway_spec(config, number, self._views))
            for number in range(1, region.gateways + 1)
        ]
        self._agent = self._managed(agent_spec(config, region))
        self.ray = RayUnit(
            ray_settings(config, region),
            clock,
            random,
            self._provision,
            self._ray_failed,
        )
        self._replica_faults = ReplicaFaults(self.serve.replicas, self.ray.signal_worker)
        self._store_faults = StoreFaults(embedded_stores(config, embedded))
        self._followed = self._follow(topology)
        self._ahead = RaisesAhead(config.region, self._ask_gateways, self._raise_to, self._in_force, clock)
        self._ahead_runs: asyncio.Task[None] | None = None
        self._ray_failures = 0
        self._ray_runs: asyncio.Task[None] | None = None
        self._left = False

    @property
    def paths(self) -> RegionPaths:
        return RunPaths(self._config.root).region(self._config.region)

    @property
    def processes(self) -> tuple[ManagedProcess, ...]:
        """The cell's own processes, Ray's excepted."""
        return (*self._gateways, self._agent, *self._stores)

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set()

    @property
    def ahead(self) -> AheadStatistics:
        """What is kept ahead of the load of lost regions."""
        return self._ahead.statistics()

    @property
    def failure(self) -> str:
        """What keeps the region from being as it should, in words; empty if nothing does."""
        return self._failure

    async def wait_ready(self) -> str:
        """Returns when every part has been ready, or one can't become so: then why, else nothing."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._ready, self._failed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return self._failure

    async def run(self, stop: asyncio.Event) -> None:
        """Starts everything side by side, keeps it up until `stop`, ends it in order. Leaves nothing."""
        async with asyncio.TaskGroup() as tasks:
            for process in self.processes:
                tasks.create_task(process.run(), name=process.name)
            self._ray_runs = tasks.create_task(self.ray.run(), name=RAY)
            self._ahead_runs = tasks.create_task(self._ahead.run(), name="ahead")
            start = tasks.create_task(self._await_start(), name="start")
            await stop.wait()
            start.cancel()
            await self._replica_faults.heal()
            await self._store_faults.heal()
            await self._end()
        await self.serve.close()
        await self._views.close()

    async def deploy(self, *, rollback: bool) -> Deployed | None:
        """Deploys what the topology says now, or goes back. Raises `DeployFailed`."""
        try:
            topology = load(self._config.topology_file, regions=self._config.regions)
            if self._config.members is not None:
                check_running(self._config.members, topology)
        except TopologyError as error:
            raise DeployFailed(str(error)) from error
        except SuccessionError as error:
            raise DeployFailed(f"{self._config.topology_file}: {error}") from error
        if rollback:
            return await self._change(lambda: self.serve.rollback(self._heard))
        try:
            take_up(self._config, topology)
        except SuccessionError as error:
            raise DeployFailed(f"{self._config.topology_file}: {error}") from error
        except OSError as error:
            raise DeployFailed(f"{self.paths.state_wiring} can't be written: {error.strerror}") from error
        return await self._change(lambda: self.serve.deploy(topology, self._heard))

    def rewire(self, config: WardenConfig, topology: Topology) -> None:
        """Tells the agent and the replicas of regions that have come or gone. Raises as the constructor does."""
        take_up(config, topology)
        wire_agent(config, topology.regions[config.region])
        self._config = config
        self._topology = topology
        self._followed = self._follow(topology)

    async def leave(self) -> None:
        """Ends whatever takes requests, for good. Agent and stores stay up, for others to get what is here."""
        if not self._left:
            await self._end_serving()

    async def fault(self, request: FaultRequest, name: str) -> None:
        """Puts a fault on a process or a replica (``replica/<service>``) by its name, or heals it. Raises
        `NoSuchProcess`, `FaultImpossible`.
        """
        kind = request.kind
        kind_of, _, service = name.partition("/")
        if kind_of == REPLICA and service:
            log.warning("fault: %s %s", kind.value, name)
            await self._replica_faults.fault(kind, service, request.share)
            return
        process = next((one for one in self.processes if one.name == name), None)
        if process is None and name != WHOLE and name not in NAMES:
            known = ", ".join([*(one.name for one in self.processes), WHOLE, *NAMES, f"{REPLICA}/SERVICE"])
            raise NoSuchProcess(f"{self._config.region} has no process {name!r}; it has: {known}, warden")
        log.warning("fault: %s %s", kind.value, name)
        match kind, process:
            case Fault.KILL, None:
                self.ray.kill(name)
            case Fault.FREEZE, None:
                self.ray.freeze(name)
            case Fault.HEAL, None:
                self.ray.heal()
            case Fault.KILL, ManagedProcess():
                process.kill()
            case Fault.FREEZE, ManagedProcess():
                process.freeze()
            case Fault.FILL, ManagedProcess():
                process.fill()
            case Fault.STARVE, ManagedProcess() if name in self._store_faults.names:
                self._store_faults.starve(name)
            case Fault.SKEW, ManagedProcess() if name == StoreKind.STATE and request.skew_ms is not None:
                self._store_faults.skew(name, request.skew_ms)
            case Fault.HEAL, ManagedProcess():
                process.heal()
                await self._store_faults.heal(name)
            case _:
                raise NoSuchProcess(f"{kind.value} is nothing that can be done to {name}")

    async def heal(self) -> None:
        """Ends the faults on all processes and replicas."""
        await self._replica_faults.heal()
        self.ray.heal()
        for process in self.processes:
            process.heal()
        await self._store_faults.heal()

    def _managed(self, spec: ProcessSpec) -> ManagedProcess:
        async def ended() -> None:
            why = f"{process.last_end}; see {process.log}"
            self.board.note(process.name, why)
            if not process.ever_ready and process.restarts >= STARTS_BEFORE_FAILURE:
                self._fail(f"{process.name} does not start: it {why}")

        process = ManagedProcess(spec, self._clock, self._random, on_end=ended)
        return process

    async def _await_start(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for process in self.processes:
                tasks.create_task(self._step(process.name, process.wait_ready))
            for url in self._external:
                tasks.create_task(self._step("store", functools.partial(_reachable, url)))
            tasks.create_task(self._step(RAY, self.ray.wait_up))
        # `_provision` says when the services are there.

    async def _step(self, name: str, wait: Callable[[], Awaitable[None]]) -> None:
        with self.board.step(name):
            await wait()

    async def _provision(self) -> None:
        """Gives a head that has just come up its applications."""
        try:
            restored = self._restore and await self._change(lambda: self.serve.restore(self._heard))
            if not restored:
                await self._change(lambda: self.serve.deploy(self._topology, self._heard))
        except DeployFailed as error:
            log.error("%s", error)  # noqa: TRY400  the message says it all
            return
        self._restore = True  # from now on a new head gets what ran before
        for process in self.processes:
            await process.wait_ready()
        self._ready.set()

    async def _change(self, change: Callable[[], Awaitable[Deployed | None]]) -> Deployed | None:
        self.board.begin(SERVICES)
        try:
            done = await change()
        except NothingToRollBack as error:  # nothing was changed
            self.board.end(SERVICES, StepState.DONE)
            raise DeployFailed(str(error)) from error
        except (ServeError, SetStoreError, CodeNotFound) as error:
            self.board.end(SERVICES, StepState.FAILED, str(error))
            self._fail(str(error))
            raise DeployFailed(str(error)) from error
        self.board.end(SERVICES, StepState.DONE)
        self._failure = ""
        self._failed.clear()
        return done

    def _ray_failed(self, why: str) -> None:
        self.board.note(RAY, why)
        self._ray_failures += 1
        if not self.is_ready and self._ray_failures >= RAY_STARTS_BEFORE_FAILURE:
            self._fail(f"Ray does not start: {why}")

    def _heard(self, progress: DeployProgress) -> None:
        self.board.note(SERVICES, str(progress))

    def _fail(self, why: str) -> None:
        self._failure = why
        self._failed.set()

    async def _end(self) -> None:
        """Who is asked first goes first: clients, then replicas, then Ray, then what they all stand on."""
        if not self._left:
            await self._end_serving()
        with self.board.step("stores end"):
            await _stop([self._agent, *self._stores])

    def _follow(self, topology: Topology) -> FollowedTopology:
        return FollowedTopology(self._config.topology_file, self._config.regions, topology)

    def _in_force(self) -> Topology:
        return self._followed.poll()

    async def _ask_gateways(self) -> Iterable[GatewayView | None]:
        return await asyncio.gather(
            *(self._views.view(gateway.admin) for gateway in self._config.ports.gateways)
        )

    async def _raise_to(self, minimums: Mapping[str, int]) -> bool:
        """Before the region is ready there is nothing to raise, and a Serve that has ended must not begin anew."""
        return self.is_ready and self.ray.is_up and await self.serve.raise_to(minimums)

    async def _end_serving(self) -> None:
        if self._ahead_runs is not None:
            self._ahead_runs.cancel()
            await asyncio.wait([self._ahead_runs])
        with self.board.step("gateways drain"):
            await _stop(self._gateways)
        if self.ray.is_up:
            with self.board.step("services end"), contextlib.suppress(ServeError, TimeoutError):
                async with asyncio.timeout(SERVE_END_S):
                    await self.serve.remove()
        with self.board.step("Ray ends"):
            if self._ray_runs is not None:
                self._ray_runs.cancel()
                await asyncio.wait([self._ray_runs])
            await self.ray.stop()
        self._left = True


async def _stop(processes: Iterable[ManagedProcess]) -> None:
    await asyncio.gather(*(process.stop() for process in processes))


async def _reachable(url: str) -> None:
    """Returns when somebody else's store answers."""
    store = connect_url(url)
    try:
        while True:
            with contextlib.suppress(StoreRefused):
                if await ping(store):
                    return
            await asyncio.sleep(POLL_S)
    finally:
        await store.aclose()
