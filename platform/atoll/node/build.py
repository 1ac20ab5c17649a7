"""Each role put together: the same process classes as on one machine, with addresses of machines."""

import functools
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import TypeVar

from atoll.agent.config import write_agent_config
from atoll.agent.exposition import state_exposition
from atoll.cell.gateway_view import GatewayViews
from atoll.cell.managed import ProcessSpec
from atoll.cell.serve_set import ServeSet
from atoll.cell.specs import agent_ready, gateway_ready, plain_store_spec, state_store_spec
from atoll.cell.valkey import StoreKind, Valkey
from atoll.clock import Clock
from atoll.node.directory import Directory
from atoll.node.files import RoleFiles
from atoll.node.follow import Following, Neighbours
from atoll.node.metrics import serving
from atoll.node.ray_roles import HeadRole, WorkerRole, take_up
from atoll.node.role import Role
from atoll.node.single import AgentProcess, GatewayProcess, SingleProcess
from atoll.node.wiring import GatewayAt, Node
from atoll.secrets import read_secret
from atoll.serve.store import SetStore
from atoll.stores import open_store
from atoll.topology.wiring import write_gateway_wiring

Wiring = TypeVar("Wiring")

GATEWAY_STOP_S = 35.0
"""Above what a gateway gives its peers to hear, its requests to end, and its keys to be written."""
STORE_READY_S = 900.0
"""A store answers when it has read its log: gigabytes of it take minutes."""
STATE_SHARE, CACHE_SHARE, GCS_SHARE = 0.5, 0.25, 0.25
"""Of the machine's memory. State and agent, and in small deployments the cache, share one; a rewrite of the log takes
some on top.
"""

log = logging.getLogger(__name__)


class RoleName(StrEnum):
    HEAD = "head"
    WORKER = "worker"
    GATEWAY = "gateway"
    AGENT = "agent"
    STATE = "state"
    CACHE = "cache"
    GCS_STORE = "gcs-store"


def build(name: RoleName, node: Node, kept: Mapping[str, str], clock: Clock, random: Random) -> Role:
    """Writes the role's wiring, and puts it together; starts nothing. `kept` is what its processes get of the
    environment. Raises `SecretError`, `NoEmbeddedValkey`, `OSError`, `ValueError`.
    """
    match name:
        case RoleName.HEAD:
            return _head(node, kept, clock, random)
        case RoleName.WORKER:
            return _worker(node, kept, clock, random)
        case RoleName.GATEWAY:
            return _gateway(node, kept, clock, random)
        case RoleName.AGENT:
            return _agent(node, kept, clock, random)
        case RoleName.STATE | RoleName.CACHE | RoleName.GCS_STORE:
            return SingleProcess(_store(name, node, node.environment(name, kept)), clock, random)


def _head(node: Node, kept: Mapping[str, str], clock: Clock, random: Random) -> HeadRole:
    files = node.files(RoleName.HEAD)
    take_up(node, files, node.topology)
    serve = ServeSet(
        node.config.region,
        node.here(node.config.ports.ray.dashboard),
        node.secrets.ray_token,
        SetStore(files.serve_applied, files.serve_good),
        node.serve_settings,
        clock,
    )
    return HeadRole(
        node,
        # Replicas run on workers: what they do must not reach the one machine that the others wait for.
        node.ray_settings(RoleName.HEAD, node.config.cpus or 0, kept),
        serve,
        Following(node.config, node.topology, files.topology),
        Neighbours(Directory(open_store(node.cache)), clock),
        GatewayViews(read_secret(node.secrets.admin_token)),
        clock,
        random,
    )


def _worker(node: Node, kept: Mapping[str, str], clock: Clock, random: Random) -> WorkerRole:
    files = node.files(RoleName.WORKER)
    take_up(node, files, node.topology)
    cpus = node.config.cpus if node.config.cpus is not None else os.cpu_count() or 1
    return WorkerRole(
        node,
        node.ray_settings(RoleName.WORKER, cpus, kept),
        Following(node.config, node.topology, files.topology),
        clock,
        random,
    )


def _gateway(node: Node, kept: Mapping[str, str], clock: Clock, random: Random) -> GatewayProcess:
    files = node.files(RoleName.GATEWAY)
    neighbours = Neighbours(Directory(open_store(node.cache)), clock, node.gateway)
    views = GatewayViews(read_secret(node.secrets.admin_token))
    refresh = _kept_fresh(
        node, files, neighbours, lambda now, present: now.gateway_wiring(present), write_gateway_wiring
    )

    async def close() -> None:
        await neighbours.close()
        await views.close()

    spec = ProcessSpec(
        name=RoleName.GATEWAY,
        argv=(sys.executable, "-m", "atoll_gateway", "--wiring", str(files.wiring)),
        env=node.environment(RoleName.GATEWAY, kept),
        log=None,
        ready=gateway_ready(node.here(node.config.ports.public), views),
        stop_grace_s=GATEWAY_STOP_S,
    )
    return GatewayProcess(spec, clock, random, refresh, close, node.gateway, files.drain, views)


def _agent(node: Node, kept: Mapping[str, str], clock: Clock, random: Random) -> AgentProcess:
    files = node.files(RoleName.AGENT)
    neighbours = Neighbours(Directory(open_store(node.cache)), clock)
    refresh = _kept_fresh(
        node, files, neighbours, lambda now, present: now.agent_config(present), write_agent_config
    )
    spec = ProcessSpec(
        name=RoleName.AGENT,
        argv=(sys.executable, "-m", "atoll.agent", "--config", str(files.wiring)),
        env=node.environment(RoleName.AGENT, kept),
        log=None,
        ready=agent_ready(files.agent_socket),
    )
    metrics = serving(
        node.here(node.config.ports.metrics),
        read_secret(node.secrets.admin_token),
        functools.partial(state_exposition, node.config.region, files.agent_socket),
    )
    return AgentProcess(spec, clock, random, refresh, neighbours.close, metrics)


def _kept_fresh(
    node: Node,
    files: RoleFiles,
    neighbours: Neighbours,
    make: Callable[[Node, Iterable[GatewayAt]], Wiring],
    write: Callable[[Path, Wiring], None],
) -> Callable[[], Awaitable[None]]:
    """Wires a process, and what wires it anew when another topology is in force or other gateways are there."""
    following = Following(node.config, node.topology, files.topology)
    wired = make(node, neighbours.present)
    write(files.wiring, wired)

    async def refresh() -> None:
        nonlocal wired
        following.poll()
        await neighbours.poll()
        wanted = make(Node(node.config, following.current), neighbours.present)
        if wanted == wired:
            return
        try:
            write(files.wiring, wanted)
        except OSError as error:  # what runs goes on as it is, and the next look tries again
            log.warning("wiring can't be written", extra={"file": str(files.wiring), "reason": str(error)})
        else:
            wired = wanted

    return refresh


def _store(name: RoleName, node: Node, environment: Mapping[str, str]) -> ProcessSpec:
    folder = node.files(name).store
    match name:
        case RoleName.STATE:
            server = Valkey(StoreKind.STATE, node.state_here, folder, _of_memory(STATE_SHARE))
            spec = state_store_spec(
                node.config.region,
                server,
                node.secrets.state_password,
                node.state_marker,
                environment,
                None,
                STORE_READY_S,
            )
        case RoleName.CACHE:
            server = Valkey(StoreKind.CACHE, node.cache_here, folder, _of_memory(CACHE_SHARE))
            spec = plain_store_spec(server, node.secrets.cache_password, environment, None, STORE_READY_S)
        case _:
            gcs = node.gcs_store
            server = Valkey(StoreKind.GCS, gcs.address, folder, _of_memory(GCS_SHARE))
            spec = plain_store_spec(server, gcs.password_file, environment, None, STORE_READY_S)
    return spec


def _of_memory(share: float) -> int:
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * share)
