"""Real gateways over real sockets, in this process, before replicas that are real HTTP servers but not Ray's.

What needs Ray is tested in `test_regions.py`; everything about a gateway that does not is tested on these.
"""

import asyncio
import io
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from tests.integration.plain import NO_AUTHORITIES
from tests.integration.ports import free_port

from atoll.clock import SystemClock
from atoll.topology.wiring import Address, GatewayWiring, PeerGateway, StoreAccess, write_gateway_wiring
from atoll_gateway.answers import Answers
from atoll_gateway.gateway import Gateway
from atoll_gateway.http.exchange import Receive, Scope, Send
from atoll_gateway.http.server import HttpServer
from atoll_gateway.peer_report import PeerReport
from atoll_gateway.run import serving

VIRGINIA = "52.86.10.20"
IRELAND = "87.32.10.20"
JAPAN = "133.11.0.10"

TOPOLOGY = """
schema = "atoll.topology/1"
name = "test"
revision = 1
[zones.us]
countries = ["US"]
[zones.eu]
countries = ["IE", "DE"]
[zones.apac]
countries = ["JP"]
[regions.us-east]
title = "Virginia"
latitude = 38.95
longitude = -77.45
zone = "us"
[regions.eu-west]
title = "Ireland"
latitude = 53.35
longitude = -6.26
zone = "eu"
[regions.ap-northeast]
title = "Tokyo"
latitude = 35.68
longitude = 139.69
zone = "apac"
[[links]]
between = ["us-east", "eu-west"]
rtt_ms = 74
[[links]]
between = ["us-east", "ap-northeast"]
rtt_ms = 165
[[links]]
between = ["eu-west", "ap-northeast"]
rtt_ms = 232
[services.echo]
route_prefix = "/echo"
import_path = "tests.echo:app"
timeout = "3s"
max_body = "400KiB"
[services.echo-eu]
route_prefix = "/echo-eu"
import_path = "tests.echo:app"
residency = ["eu"]
[services.echo-eu-strict]
route_prefix = "/echo-eu-strict"
import_path = "tests.echo:app"
residency = ["eu"]
transit = "refuse"
[health]
probe_interval = "100ms"
silence = "2s"
"""

TOKEN = "a-token-for-tests-only"


@dataclass(slots=True)
class Replica:
    """An HTTP server that answers as a replica would, and remembers what it was asked."""

    region: str
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    server: HttpServer | None = None
    port: int = 0
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Requests to ``.../hold`` are answered once this is set."""
    says: tuple[int, bytes] | None = None
    """Status and body of every answer, if it is to speak as Serve does when it executes nothing."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a request to ``.../hold`` has come in."""

    async def start(self) -> None:
        self.server = HttpServer(self)
        await self.server.start(port=self.port)
        self.port = self.server.address[1]

    async def stop(self) -> None:
        """Resets every connection and refuses new ones, as a killed process does."""
        assert self.server is not None
        await self.server.close()

    async def reached(self) -> None:
        """Returns when a request to ``.../hold`` has come in; fails the test if none does."""
        async with asyncio.timeout(60):
            await self.arrived.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = b""
        more = True
        while more:
            message = await receive()
            content += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        target = scope["raw_path"].decode() + (
            "?" + scope["query_string"].decode() if scope["query_string"] else ""
        )
        self.seen.append((scope["method"], target, headers, content))
        path = scope["path"]
        if path.endswith("/hold"):
            self.arrived.set()
            await self.held.wait()
        status = int(path.rsplit("/", 1)[1]) if path.rsplit("/", 1)[1].isdigit() else 200
        if path.endswith("/stream"):
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
            )
            for number in range(5):
                await send({"type": "http.response.body", "body": b"%d\n" % number, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        body = content if path.endswith("/mirror") else b"" if status == 204 else self.region.encode()
        fields = [(b"content-length", b"%d" % len(body)), (b"atoll-region", b"a-lie")]
        if self.says is not None:
            status, body = self.says
            fields = []  # Serve does not give the length of what it says itself
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})


@dataclass(slots=True)
class Cell:
    """One region of the harness."""

    region: str
    gateway: Gateway
    replicas: list[Replica]
    wiring: GatewayWiring
    stack: AsyncExitStack

    async def kill(self) -> None:
        """Gateway and replicas are gone at once, as after SIGKILL."""
        for replica in self.replicas:
            await replica.stop()
        await self.stack.aclose()


@dataclass(slots=True)
class World:
    """Three cells and an entry."""

    cells: Mapping[str, Cell]
    entry: Gateway
    topology_file: Path
    log: io.StringIO
    """The entry's access log."""

    def url(self, region: str | None = None) -> str:
        wiring = self.entry.wiring if region is None else self.cells[region].wiring
        return wiring.public.url

    def seen(self, region: str) -> list[tuple[str, str, dict[str, str], bytes]]:
        """What clients asked the region's replicas; a gateway's own questions, whether one is alive, left out."""
        return [
            entry
            for replica in self.cells[region].replicas
            for entry in replica.seen
            if not entry[1].startswith("/-/")
        ]

    def agrees(self) -> bool:
        """Whether every gateway holds every peer for healthy, and has heard what it would say now."""
        return all(
            peer.health.healthy
            and peer.report is not None
            and _where(peer.report) == _where(Answers(self.cells[region].gateway).peer_report())
            for gateway in (self.entry, *(cell.gateway for cell in self.cells.values()))
            for region in gateway.peers.regions
            for peer in gateway.peers.of(region)
        )


def _where(report: PeerReport) -> tuple[object, ...]:
    """What a report says of where requests may go."""
    replicas = {name: load.replicas for name, load in report.services.items()}
    return report.draining, report.topology, replicas


@asynccontextmanager
async def world(
    folder: Path,
    replicas: int = 1,
    topology: str = TOPOLOGY,
    state: Mapping[str, StoreAccess] | None = None,
) -> AsyncIterator[World]:
    """Starts everything and waits until every gateway knows its peers. `topology` has the same three regions.

    `state` are the regions' state stores, if there are any.
    """
    topology_file = folder / "topology.toml"
    topology_file.write_text(topology)
    token = folder / "token"
    token.write_text(TOKEN)
    regions = ("us-east", "eu-west", "ap-northeast")
    ports = {
        name: {kind: free_port() for kind in ("public", "peer", "admin")} for name in (*regions, "entry")
    }
    public_urls = {region: (f"http://127.0.0.1:{ports[region]['public']}",) for region in regions}

    def wiring(name: str) -> GatewayWiring:
        region = None if name == "entry" else name
        state_dir = folder / name
        state_dir.mkdir()
        return GatewayWiring(
            name="entry" if region is None else f"{name}/gateway-1",
            region=region,
            topology_file=topology_file,
            public=Address("127.0.0.1", ports[name]["public"]),
            peer=None if region is None else Address("127.0.0.1", ports[name]["peer"]),
            admin=Address("127.0.0.1", ports[name]["admin"]),
            peers=tuple(
                PeerGateway(other, f"{other}/gateway-1", Address("127.0.0.1", ports[other]["peer"]))
                for other in regions
                if other != region
            ),
            public_urls=public_urls,
            serve=None,
            state_dir=state_dir,
            peer_token_file=token,
            admin_token_file=token,
            drain_file=None if region is None else state_dir / "drain",
            state=None if region is None or state is None else state[region],
        )

    clock = SystemClock()
    async with AsyncExitStack() as stack:
        cells: dict[str, Cell] = {}
        for region in regions:
            its = [Replica(region) for _ in range(replicas)]
            for replica in its:
                await replica.start()
                stack.push_async_callback(replica.stop)
            cell_wiring = wiring(region)
            write_gateway_wiring(folder / f"{region}.json", cell_wiring)
            gateway = Gateway(cell_wiring, clock, random.Random(1), None)
            own = await stack.enter_async_context(AsyncExitStack())
            await own.enter_async_context(serving(gateway, clock, random.Random(2)))
            addresses = tuple(Address("127.0.0.1", replica.port) for replica in its)
            placed = [service.name for service in gateway.topology.services_in(region)]
            gateway.replicas.update(dict.fromkeys(placed, addresses))
            cells[region] = Cell(region, gateway, its, cell_wiring, own)
        log = io.StringIO()
        entry = Gateway(wiring("entry"), clock, random.Random(3), log)
        await stack.enter_async_context(serving(entry, clock, random.Random(4)))
        made = World(cells, entry, topology_file, log)
        await until(made.agrees)
        yield made


async def until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    """Waits until something is so; fails the test if that takes too long."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


def client(**settings: object) -> httpx.AsyncClient:
    """A client of plain HTTP that keeps out of the environment's proxies."""
    return httpx.AsyncClient(trust_env=False, verify=NO_AUTHORITIES, timeout=60.0, **settings)  # type: ignore[arg-type]


def from_address(address: str) -> httpx.AsyncClient:
    """A client whose connections come from another loopback address, which is no trusted proxy."""
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(local_address=address, trust_env=False, verify=NO_AUTHORITIES),
        timeout=60.0,
    )
