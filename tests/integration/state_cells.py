"""The state of several regions without their Ray clusters: real stores, agents and links, and what a replica has.

A region's agent runs in the test's process, so a crash of it is the end of its tasks; its store is a process that can
be killed, frozen and wiped.
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from types import MappingProxyType

from tests.integration.ports import free_base
from tests.integration.state_stores import StateServer
from tests.integration.stores import Store
from tests.integration.topologies import with_regions

from atoll.agent.config import AgentConfig
from atoll.agent.state import StateAgent
from atoll.cell.links.control import LinksClient, serve_control
from atoll.cell.links.network import Network, Selection
from atoll.cell.paths import RunPaths
from atoll.cell.ports import PortPlan, plan_ports
from atoll.cell.valkey import StoreKind, Valkey
from atoll.cell.wiring import links_config
from atoll.channel import ChannelServer, serve_channels
from atoll.clock import SystemClock
from atoll.state.marker import ensure_marker, write_marker
from atoll.state.opening import open_store_epoch
from atoll.state.replication import DEFAULTS, ReplicationSettings
from atoll.state.sdk.access import StateAccess
from atoll.state.sdk.scope import Scope
from atoll.state.session import Session
from atoll.state.valkey_store import ValkeyStore
from atoll.state.wiring import StateWiring, wire_namespaces, write_state_wiring
from atoll.topology import Topology, load, parse
from atoll.topology.wiring import Address, StoreAccess, TlsFiles, write_private

ROOT = Path(__file__).parents[2]
SECRET = "agents-of-tests"
OPENING, PASSWORD = "0pen1ng", "b4d1dea"

NAMESPACES = """
[namespaces.views]
level = "eventual"
[namespaces.carts]
level = "session"
[namespaces.kept]
level = "eventual"
durability = "remote"
[namespaces.notes-eu]
level = "eventual"
residency = ["eu"]
[namespaces.stock]
level = "strong"
"""


@dataclass(slots=True)
class Cell:
    """One region: its store, its agent, and what a replica of it has."""

    region: str
    server: StateServer
    cache: Store
    config: AgentConfig
    wiring: StateWiring
    wiring_file: Path
    topology: Topology
    settings: ReplicationSettings
    store: ValkeyStore
    """As an operator or the agent sees it: replicas are kept out while it is not complete."""
    agent: StateAgent | None = None
    access: StateAccess | None = None
    _listener: ChannelServer | None = None
    _running: "asyncio.Task[None] | None" = None

    async def start_store(self) -> None:
        """As the warden does: nobody is let in before the epoch has begun."""
        await self.server.start()
        marker = ensure_marker(self.config.state_marker)
        write_marker(self.config.state_marker, marker.before())
        opened = await open_store_epoch(
            self.server.address, OPENING, PASSWORD, self.region, marker.identity, floor=marker.epoch
        )
        if opened is not None:
            after = marker.after(opened.actor, fresh=opened.fresh, complete=False)
            write_marker(self.config.state_marker, after)

    async def wipe(self) -> None:
        """The store's disk is lost; the server is not running afterwards."""
        await self.server.kill()
        conf = self.server.server.config_file.read_bytes()
        shutil.rmtree(self.server.server.folder)
        self.server.server.folder.mkdir()
        write_private(self.server.server.config_file, conf)

    async def start_agent(self, kind: type[StateAgent] = StateAgent) -> None:
        self.agent = kind(self.config, SECRET.encode(), self.topology, SystemClock(), Random(), self.settings)
        self._listener = await serve_channels(
            self.config.listen, SECRET.encode(), self.region, self.agent.purposes, tls=self.agent.serving
        )
        self._running = asyncio.create_task(self.agent.run())

    async def stop_agent(self) -> None:
        """Without a word to anybody."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None
        if self._listener is not None:
            await self._listener.close()
        if self.agent is not None:
            await self.agent.close()
            self.agent = None

    def request(self, token: str | None = None) -> Scope:
        """What a request of a client has in a replica of this region."""
        assert self.access is not None
        return self.access.scope(token)

    async def alone(self) -> bool:
        """Whether the agent knows of no link that works."""
        assert self.agent is not None
        return not self.agent.statistics()[0].connected

    async def token(self, session: Session) -> str:
        """What the client gets back."""
        assert self.access is not None
        return await self.access.token(session)

    async def stop(self) -> None:
        await self.stop_agent()
        if self.access is not None:
            await self.access.close()
        await self.store.aclose()
        await self.server.kill()
        await self.cache.kill()


@dataclass(slots=True)
class Cells:
    """All regions and the links between them."""

    topology: Topology
    links: LinksClient
    folder: Path
    text: str
    """Of the topology with all regions that there are links for."""
    plan: PortPlan
    settings: ReplicationSettings
    tls: Mapping[str, TlsFiles] = field(default_factory=dict)
    cells: dict[str, Cell] = field(default_factory=dict)

    def __getitem__(self, region: str) -> Cell:
        return self.cells[region]

    @property
    def file(self) -> Path:
        return self.folder / "topology.toml"

    async def add(self, region: str) -> Cell:
        """A new region begins with an empty store; the agents of the others are started anew, one after the other."""
        self.revise({*self.cells, region})
        for cell in self.cells.values():
            cell.config = replace(cell.config, peers=self.peers(cell.region))
            await cell.stop_agent()
            await cell.start_agent()
        return await self.start(region)

    def revise(self, members: Collection[str]) -> None:
        """Writes the topology's next revision, with these regions. Agents that run take it up by themselves."""
        self.file.write_text(with_regions(self.text, members, self.topology.revision + 1))
        self.topology = load(self.file)
        for region in self.cells.keys() & members:
            cell = self.cells[region]
            cell.topology = self.topology
            cell.wiring = replace(
                cell.wiring, namespaces=wire_namespaces(self.topology), revision=self.topology.revision
            )
            write_state_wiring(cell.wiring_file, cell.wiring)

    async def start(self, region: str) -> Cell:
        cell = _cell(self.folder / region, region, self)
        self.cells[region] = cell
        await cell.start_store()
        await cell.cache.start()
        await cell.start_agent()
        cell.access = StateAccess.open(cell.wiring_file, SystemClock(), Random())
        return cell

    async def stop(self) -> None:
        for cell in self.cells.values():
            await cell.stop()

    def peers(self, region: str) -> dict[str, Address]:
        return {peer: at for peer, at in self.plan.agents_of(region).items() if peer in self.topology.regions}

    async def cut(self, a: str, b: str | None = None) -> None:
        await self.links.set(Selection(a, b), cut=True)
        await self.links.lose(Selection(a, b))

    async def heal(self) -> None:
        await self.links.heal()

    async def settled(self, within_s: float = 120.0) -> None:
        """Returns when every region knows what all others have written up to now."""
        wanted = {}
        for region, cell in self.cells.items():
            latest = (await cell.store.vector()).latest(region)
            assert latest is not None
            wanted[region] = latest

        async def everywhere() -> bool:
            vectors = [await cell.store.vector() for cell in self.cells.values()]
            return all(vector.covers(dot) for vector in vectors for dot in wanted.values())

        await until(everywhere, within_s)

    async def digests(self, namespace: str) -> list[dict[int, int]]:
        """Of what is there, in each region that holds the namespace."""
        return [
            {
                bucket: digest.live
                for bucket, digest in (await cell.store.digests(namespace)).items()
                if digest.live
            }
            for region, cell in self.cells.items()
            if region in self.topology.holders(namespace)
        ]


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 120.0) -> None:
    """Waits until something is so. The limit is for what hangs, not for a slow machine."""
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def cells(
    folder: Path,
    namespaces: str = NAMESPACES,
    topology: str = "residency.toml",
    *,
    planned: Collection[str] | None = None,
    members: Collection[str] | None = None,
    settings: ReplicationSettings = DEFAULTS,
    tls: Mapping[str, TlsFiles] = MappingProxyType({}),
) -> AsyncIterator[Cells]:
    """Regions of a topology, with their agents: `members`, and links for all that are `planned`. None: all. `tls` are
    the certificates of regions whose agents have any.
    """
    text = (ROOT / "infra" / "topologies" / topology).read_text().partition("\n[namespaces.")[0] + namespaces
    if planned is not None:
        text = with_regions(text, planned, 1)
    whole = parse(text)
    file = folder / "topology.toml"
    file.write_text(text if members is None else with_regions(text, members, 1))
    plan = plan_ports(whole, free_base(1 + len(whole.regions)))
    config = links_config(whole, plan, RunPaths(folder))
    network = Network(config, SystemClock())
    made = Cells(load(file), LinksClient(config.control), folder, text, plan, settings, tls)
    async with contextlib.AsyncExitStack() as stack:
        network.start()
        stack.push_async_callback(network.close)
        await stack.enter_async_context(await serve_control(config.control, network))
        stack.push_async_callback(made.stop)
        await asyncio.gather(*(made.start(region) for region in made.topology.regions))
        yield made


def _cell(folder: Path, region: str, cells: Cells) -> Cell:
    topology, plan = cells.topology, cells.plan
    (folder / "state").mkdir(parents=True)
    (folder / "cache").mkdir()
    ports = plan.regions[region]
    server = StateServer(Valkey(StoreKind.STATE, ports.state, folder / "state"))
    server.server.write_config(OPENING)
    for name, secret in (("state", PASSWORD), ("agent", SECRET), ("session", "sessions-of-tests")):
        write_private(folder / f"{name}.secret", secret.encode())
    store = StoreAccess(address=ports.state, password_file=folder / "state.secret")
    cache = Store(
        Valkey(StoreKind.CACHE, ports.cache, folder / "cache"),
        StoreAccess(address=ports.cache, password_file=folder / "state.secret"),
    )
    cache.server.write_config(PASSWORD)
    nowhere = Address("127.0.0.1", 9)
    config = AgentConfig(
        region=region,
        socket=folder / "agent.sock",
        gateways={},
        admin_token_file=folder / "agent.secret",
        dashboard=nowhere,
        ray_token_file=folder / "agent.secret",
        cache=cache.access,
        state=store,
        state_marker=folder / "marker.json",
        listen=ports.agent,
        peers=cells.peers(region),
        agent_token_file=folder / "agent.secret",
        session_key_file=folder / "session.secret",
        topology_file=cells.file,
        tls=cells.tls.get(region),
    )
    wiring = StateWiring(
        region=region,
        zone=topology.regions[region].zone,
        cache=cache.access,
        state=store,
        agent=ports.agent,
        agent_token_file=folder / "agent.secret",
        session_key_file=folder / "session.secret",
        namespaces=wire_namespaces(topology),
        revision=topology.revision,
        digest=topology.digest,
        tls=cells.tls.get(region),
    )
    write_state_wiring(folder / "state.json", wiring)
    own = ValkeyStore.connect(store, region)
    return Cell(region, server, cache, config, wiring, folder / "state.json", topology, cells.settings, own)
