"""The state's part of three regions: real stores, agents and links, but no Ray and no gateways.

Files, ports and processes are those that `atoll up` makes and starts. Whoever opens the regions is their warden.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random, SystemRandom

from atoll.cell.links.control import LinksClient
from atoll.cell.links.network import Selection
from atoll.cell.managed import ProcessSpec
from atoll.cell.paths import RunPaths
from atoll.cell.ports import BLOCK, END, PortsError
from atoll.cell.prepare import Plan, Wish, prepare
from atoll.cell.processes import identify
from atoll.cell.reaper import die_with_parent
from atoll.cell.specs import agent_spec, store_spec
from atoll.cell.state_files import take_up
from atoll.cell.valkey import StoreKind
from atoll.cell.wiring import WardenConfig, state_access
from atoll.clock import SystemClock
from atoll.rpc import RpcError
from atoll.state.errors import StateError
from atoll.state.kind import Kind
from atoll.state.sdk.access import StateAccess
from atoll.state.sdk.admission import only_complete
from atoll.state.store import Change, WriteResult
from atoll.state.strong.backend import Unavailable
from atoll.state.valkey_store import ValkeyStore
from atoll.state.vector import NOTHING, Dot, Vector
from atoll.stores import open_store
from atoll.topology import Level

ROOT = Path(__file__).parents[2]
TOPOLOGY = ROOT / "infra" / "topologies" / "residency.toml"
START_S = 120.0
LOOK_S = 0.02

NAMESPACES = """
[namespaces.local]
level = "eventual"
[namespaces.kept]
level = "eventual"
durability = "remote"
[namespaces.carts]
level = "session"
[namespaces.orders]
level = "session"
durability = "remote"
[namespaces.stock]
level = "strong"
"""

dot_written: ContextVar[Dot | None] = ContextVar("dot_written", default=None)
"""The last write that the store of the current task's region has acknowledged to it."""


class CellsError(Exception):
    """The regions can't be run; says what to do."""


class NotingStore(ValkeyStore):
    """Tells the number of each write, which service authors never see."""

    __slots__ = ()

    async def write(
        self, namespace: str, kind: Kind, key: str, changes: Sequence[Change], deps: Vector = NOTHING
    ) -> WriteResult:
        written = await super().write(namespace, kind, key, changes, deps)
        dot_written.set(written.dot)
        return written


class Process:
    """One process that is started, killed and frozen at will."""

    def __init__(self, spec: ProcessSpec) -> None:
        self._spec = spec
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns when it is ready. Raises `CellsError` if it ends, or isn't in time."""
        assert self._spec.log is not None
        with self._spec.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._spec.argv,
                env=dict(self._spec.env),
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent(),
            )
        try:
            await until(self._ready, START_S)
        except TimeoutError as error:
            raise self._failed("isn't ready") from error

    async def kill(self) -> None:
        """As a crash does."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _ready(self) -> bool:
        if self._process is None or self._process.returncode is not None:
            raise self._failed("has ended")
        return await self._spec.ready()

    def _failed(self, what: str) -> CellsError:
        assert self._spec.log is not None
        last = self._spec.log.read_text(errors="replace").splitlines()[-5:]
        return CellsError(f"{' '.join(self._spec.argv[:3])} {what}; the end of its log: {' | '.join(last)}")


@dataclass(slots=True)
class Cell:
    """One region."""

    region: str
    store: Process
    cache: Process
    agent: Process
    access: StateAccess
    folder: Path
    """The store's."""

    @property
    def data(self) -> ValkeyStore:
        store = self.access.regional.store
        assert isinstance(store, ValkeyStore)
        return store

    async def wipe(self) -> None:
        """Kills the store and loses its disk; its configuration comes from the warden."""
        await self.store.kill()
        shutil.rmtree(self.folder / "appendonlydir")


@dataclass(frozen=True, slots=True)
class Cells:
    """All regions and the links between them."""

    cells: Mapping[str, Cell]
    links: LinksClient
    holders: Mapping[str, tuple[str, ...]]
    """Namespaces with a log, and the regions that hold them."""

    def __getitem__(self, region: str) -> Cell:
        return self.cells[region]

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(self.cells)

    async def cut(self, a: str, b: str | None, *, both_ways: bool = True) -> None:
        await self.links.set(Selection(a, b, both_ways), cut=True)
        if both_ways:
            await self.links.lose(Selection(a, b))

    async def heal(self) -> None:
        await self.links.heal()

    async def equal(self) -> bool:
        """Whether all holders of each namespace have the same in it, and let their clients see it."""
        for namespace, holders in self.holders.items():
            try:
                digests = await asyncio.gather(*(self[holder].data.digests(namespace) for holder in holders))
            except StateError:
                return False
            first, *others = (
                {bucket: digest.live for bucket, digest in found.items() if digest.live} for found in digests
            )
            if any(other != first for other in others):
                return False
        return True

    async def founded(self) -> bool:
        """Whether strong registers answer in all regions."""
        for cell in self.cells.values():
            try:
                await cell.access.regional.strong.get("stock", "probe", timeout_s=1.0)
            except Unavailable:
                return False
        return True


async def until(condition: Callable[[], Awaitable[bool]], within_s: float) -> None:
    """Other processes set no event that could be awaited. Raises `TimeoutError`."""
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)


@contextlib.asynccontextmanager
async def cells(folder: Path, agent: str = "atoll.agent") -> AsyncIterator[Cells]:
    """Three regions, ready, in a short folder of their own; `agent` is what their agents run. Raises `CellsError`."""
    paths = RunPaths(folder / "run")
    plan = await _planned(paths, folder / "topology.toml")
    links = Process(_links(paths, plan))
    made: dict[str, Cell] = {}
    try:
        await links.start()
        for config in plan.wardens.values():
            made[config.region] = _cell(plan, config, agent)
        await asyncio.gather(*(one.start() for cell in made.values() for one in (cell.store, cell.cache)))
        await asyncio.gather(*(cell.agent.start() for cell in made.values()))
        holders = {
            name: plan.topology.holders(name)
            for name, namespace in plan.topology.namespaces.items()
            if namespace.level is not Level.STRONG
        }
        running = Cells(made, LinksClient(paths.links_socket), holders)
        await until(running.founded, START_S)
        yield running
    finally:
        for cell in made.values():
            await cell.data.aclose()
            await cell.access.close()
            await cell.agent.kill()
            await cell.store.kill()
            await cell.cache.kill()
        await links.kill()
        for ray_folder in plan.facts.ray_folders.values():
            shutil.rmtree(ray_folder, ignore_errors=True)


async def _planned(paths: RunPaths, file: Path) -> Plan:
    """Everything written, at ports that are free."""
    paths.root.mkdir()
    file.write_text(TOPOLOGY.read_text().partition("\n[services.")[0] + NAMESPACES)
    supervisor = identify(os.getpid())
    assert supervisor is not None
    chance = SystemRandom()
    for _ in range(50):
        base = chance.randrange(10_000, END - 4 * BLOCK, BLOCK)
        with contextlib.suppress(PortsError):
            return await prepare(paths, Wish(file, None, base), os.environ, supervisor, SystemClock())
    raise CellsError("no block of ports is free; end other runs first")


def _links(paths: RunPaths, plan: Plan) -> ProcessSpec:
    client = LinksClient(paths.links_socket)

    async def ready() -> bool:
        with contextlib.suppress(RpcError):
            await client.statistics()
            return True
        return False

    argv = (sys.executable, "-m", "atoll.cell.links", "--config", str(paths.links_config))
    return ProcessSpec("links", argv, plan.environment, paths.log("links"), ready)


def _running(spec: ProcessSpec, module: str) -> ProcessSpec:
    """The same process with another module."""
    return replace(spec, argv=tuple(module if part == "atoll.agent" else part for part in spec.argv))


def _cell(plan: Plan, config: WardenConfig, agent: str) -> Cell:
    region = plan.topology.regions[config.region]
    paths = RunPaths(config.root).region(config.region)
    take_up(config, plan.topology)
    access = StateAccess.open(paths.state_wiring, SystemClock(), Random())
    store, check = state_access(region.stores, config.ports, paths), only_complete(config.region)
    client, tail = (open_store(store, connected=check) for _ in range(2))
    access.regional.store = NotingStore(client, tail, config.region)
    return Cell(
        config.region,
        Process(store_spec(config, StoreKind.STATE)),
        Process(store_spec(config, StoreKind.CACHE)),
        Process(_running(agent_spec(config, region), agent)),
        access,
        paths.state,
    )
