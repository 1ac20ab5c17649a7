"""What a cell runs: one `ProcessSpec` a process, with everything that it is started with written to its files."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from secrets import token_hex

from atoll.agent.config import AgentConfig, write_agent_config
from atoll.cell.gateway_view import GatewayViews
from atoll.cell.managed import ProcessSpec
from atoll.cell.paths import RunPaths
from atoll.cell.ports import LOOPBACK
from atoll.cell.ray_head import RayHeadSettings
from atoll.cell.secrets import TOKEN_BYTES
from atoll.cell.state_gate import StateGate
from atoll.cell.valkey import StoreKind, Valkey
from atoll.cell.wiring import WardenConfig, cache_access, dashboard, gateway_name, state_access
from atoll.rpc import Client, RpcError
from atoll.secrets import read_secret
from atoll.serve.applications import ServeSettings
from atoll.state.wiring import STATE_VARIABLE
from atoll.stores import connect, ping
from atoll.topology import Region
from atoll.topology.wiring import Address

STORE_READY_S = 30.0
GATEWAY_STOP_S = 15.0
"""Above the time that a gateway itself gives its requests when it drains."""


def store_spec(config: WardenConfig, kind: StoreKind) -> ProcessSpec:
    """An embedded store. Raises `NoEmbeddedValkey`, `SecretError`."""
    paths = RunPaths(config.root).region(config.region)
    log = paths.log(kind.value)
    if kind is StoreKind.STATE:
        server = Valkey(kind, config.ports.state, paths.state)
        return state_store_spec(
            config.region, server, paths.state_password, paths.state_marker, config.environment, log
        )
    server = Valkey(kind, config.ports.cache, paths.cache)
    return plain_store_spec(server, paths.cache_password, config.environment, log)


def plain_store_spec(
    server: Valkey,
    password_file: Path,
    environment: Mapping[str, str],
    log: Path | None,
    ready_s: float = STORE_READY_S,
) -> ProcessSpec:
    """A store that is ready when it answers. Raises `NoEmbeddedValkey`, `SecretError`, `OSError`."""
    password = read_secret(password_file)
    server.write_config(password)
    return ProcessSpec(
        server.kind.value, server.argv, environment, log, _answers(server, password), ready_timeout_s=ready_s
    )


def state_store_spec(
    region: str,
    server: Valkey,
    password_file: Path,
    marker: Path,
    environment: Mapping[str, str],
    log: Path | None,
    ready_s: float = STORE_READY_S,
) -> ProcessSpec:
    """A region's state store, which counts as ready once its epoch has begun. Raises `NoEmbeddedValkey`, `SecretError`,
    `OSError`.
    """
    # In the file and in this process alone: each start of the server is closed to all others.
    opening = token_hex(TOKEN_BYTES)
    server.write_config(opening)
    gate = StateGate(region, server.address, opening, read_secret(password_file), marker)
    return ProcessSpec(server.kind.value, server.argv, environment, log, gate.open, ready_timeout_s=ready_s)


def _answers(server: Valkey, password: str) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        store = connect(server.address, password)
        try:
            return await ping(store)
        finally:
            await store.aclose()

    return ready


def gateway_spec(config: WardenConfig, number: int, views: GatewayViews) -> ProcessSpec:
    """A gateway; the supervisor has written its wiring."""
    paths = RunPaths(config.root).region(config.region)
    name = f"gateway-{number}"
    paths.gateway_state(number).mkdir(mode=0o700, exist_ok=True)
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-m", "atoll_gateway", "--wiring", str(paths.gateway_wiring(number))),
        env=config.environment,
        log=paths.log(name),
        ready=gateway_ready(config.ports.gateways[number - 1].public, views),
        stop_grace_s=GATEWAY_STOP_S,
    )


def gateway_ready(public: Address, views: GatewayViews) -> Callable[[], Awaitable[bool]]:
    """Asks a gateway whether it is alive."""

    async def ready() -> bool:
        return await views.alive(public)

    return ready


def agent_spec(config: WardenConfig, region: Region) -> ProcessSpec:
    """The agent."""
    paths = RunPaths(config.root).region(config.region)
    wire_agent(config, region)
    return ProcessSpec(
        name="agent",
        argv=(sys.executable, "-m", "atoll.agent", "--config", str(paths.agent_config)),
        env=config.environment,
        log=paths.log("agent"),
        ready=agent_ready(paths.agent_socket),
    )


def agent_ready(socket: Path) -> Callable[[], Awaitable[bool]]:
    """Asks an agent for its report."""

    async def ready() -> bool:
        try:
            await Client(socket).call("report")
        except RpcError:
            return False
        return True

    return ready


def wire_agent(config: WardenConfig, region: Region) -> None:
    """Tells the agent of its peers; one that runs takes it up by itself."""
    run = RunPaths(config.root)
    paths = run.region(config.region)
    write_agent_config(
        paths.agent_config,
        AgentConfig(
            region=config.region,
            socket=paths.agent_socket,
            gateways={
                gateway_name(config.region, number): gateway.admin
                for number, gateway in enumerate(config.ports.gateways, 1)
            },
            admin_token_file=run.admin_token,
            dashboard=dashboard(config.ports),
            ray_token_file=paths.ray_token,
            cache=cache_access(region.stores, config.ports, paths),
            state=state_access(region.stores, config.ports, paths),
            state_marker=paths.state_marker,
            listen=config.ports.agent,
            peers=config.agents,
            agent_token_file=run.agent_token,
            session_key_file=run.session_key,
            topology_file=config.topology_file,
            regions=config.regions,
            members=config.members,
            kept_topology=run.topology,
        ),
    )


def serve_settings(config: WardenConfig) -> ServeSettings:
    """How the region's Serve runs."""
    return ServeSettings(
        http=Address(LOOPBACK, config.ports.ray.serve_http),
        grpc_port=config.ports.ray.serve_grpc,
        gateways=tuple(gateway.public.url for gateway in config.ports.gateways),
    )


def ray_settings(config: WardenConfig, region: Region) -> RayHeadSettings:
    """How the region's Ray head runs."""
    paths = RunPaths(config.root).region(config.region)
    return RayHeadSettings(
        region=config.region,
        run=config.run,
        ports=config.ports.ray,
        temp_dir=config.ray_folder,
        token_file=paths.ray_token,
        num_cpus=region.cpus,
        start_turn=RunPaths(config.root).ray_start_lock,
        environment={
            **config.environment,
            STATE_VARIABLE: str(paths.state_wiring),
            # Ray's helpers leave temporary files behind when they are killed: here they go with the run.
            "TMPDIR": str(config.ray_folder),
        },
    )
