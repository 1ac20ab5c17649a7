"""Atoll's gateway: forwarding alone, and the whole process with every layer on."""

from pathlib import Path

from atoll.topology.wiring import Address, GatewayWiring, PeerGateway, write_gateway_wiring
from loadtests.bench.workbench import Running, Workbench, free_port

_TOPOLOGY = """schema = "atoll.topology/1"
name = "bench"
revision = 1
[zones.eu]
countries = ["IE", "DE"]
[regions.eu-west]
title = "Ireland"
latitude = 53.35
longitude = -6.26
zone = "eu"
[regions.eu-central]
title = "Frankfurt"
latitude = 50.11
longitude = 8.68
zone = "eu"
[[links]]
between = ["eu-west", "eu-central"]
rtt_ms = 22
"""
_SERVICE = """[services.bench]
kind = "origin"
route_prefix = "/bench"
timeout = "5s"
rate_limit = { rate = "1000000/s", burst = 1000000 }
client_rate_limit = { rate = "1000000/s", burst = 1000000 }
replicas = { max_in_flight = 512 }
"""
"""Limits that count every request and refuse none."""


def forwarding(bench: Workbench, upstream: int) -> Running:
    """The server and the pool, without layers."""
    port = free_port()
    return bench.python("forwarding", port, "loadtests.bench.peers.forwarding", str(port), str(upstream))


def gateway(bench: Workbench, upstream: int) -> Running:
    """The whole process before `upstream`, with every layer on; its access log goes to a file."""
    return start(bench, "gateway", write_topology(bench, "gateway", {"eu-west": [upstream]}), "eu-west")


def write_topology(bench: Workbench, name: str, origins: dict[str, list[int]]) -> Path:
    """A topology of two regions with one service, an origin at these ports of loopback."""
    lines = [
        f"origins.{region} = {[f'http://127.0.0.1:{port}' for port in ports]}\n"
        for region, ports in origins.items()
    ]
    file = bench.folder / f"{name}.toml"
    file.write_text(_TOPOLOGY + _SERVICE + "".join(lines))
    return file


def start(
    bench: Workbench,
    name: str,
    topology: Path,
    region: str,
    peers: tuple[PeerGateway, ...] = (),
    peer_port: int = 0,
) -> Running:
    """A gateway process of a region."""
    port = free_port()
    file = write_wiring(bench, name, topology, region, port, peers, peer_port)
    return bench.python(name, port, "atoll_gateway", "--wiring", str(file))


def write_wiring(
    bench: Workbench,
    name: str,
    topology: Path,
    region: str,
    port: int,
    peers: tuple[PeerGateway, ...] = (),
    peer_port: int = 0,
) -> Path:
    """The wiring of a gateway of a region that listens on `port`, without Serve and stores."""
    token = bench.folder / "token"
    if not token.exists():
        token.write_text("only-for-this-benchmark-0123456789")
    state = bench.folder / f"{name}-state"
    state.mkdir()
    wiring = GatewayWiring(
        name=f"{region}/gateway-1",
        region=region,
        topology_file=topology,
        public=Address("127.0.0.1", port),
        peer=Address("127.0.0.1", peer_port or free_port()),
        admin=Address("127.0.0.1", free_port()),
        peers=peers,
        public_urls={},
        serve=None,
        state_dir=state,
        peer_token_file=token,
        admin_token_file=token,
        drain_file=None,
    )
    file = bench.folder / f"{name}.json"
    write_gateway_wiring(file, wiring)
    return file
