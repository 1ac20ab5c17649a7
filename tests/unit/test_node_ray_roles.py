"""What head and worker do with Ray, without Ray."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from tests.integration.node_machines import topology

from atoll.cell.gateway_view import GatewayViews
from atoll.cell.serve_set import ServeSet
from atoll.clock import SystemClock
from atoll.node import ray_roles
from atoll.node.config import NodeConfig, read_node_config
from atoll.node.follow import Following, Neighbours
from atoll.node.ray_roles import HeadRole, WorkerRole
from atoll.node.wiring import Node
from atoll.serve.client import Unreachable
from atoll.state.wiring import read_state_wiring
from atoll.topology import Topology, load

PLACES = {"us-east": "127.1.0.5", "eu-west": "127.2.0.5"}


@dataclass
class Ray:
    """A Ray node that is told to be up, and notes what is asked of it."""

    on_up: Callable[[], Awaitable[None]]
    up: asyncio.Event = field(default_factory=asyncio.Event)
    runs: bool = False
    drained: list[float] = field(default_factory=list)
    stopped: int = 0
    takes_drain: bool = True

    async def run(self) -> None:
        self.runs = True
        try:
            while True:
                await self.up.wait()
                task = asyncio.ensure_future(self.on_up())
                try:
                    while self.up.is_set():
                        await asyncio.sleep(0.001)
                finally:
                    task.cancel()
        finally:
            self.runs = False

    @property
    def is_up(self) -> bool:
        return self.up.is_set()

    async def wait_up(self) -> None:
        await self.up.wait()

    async def drain(self, deadline_s: float) -> bool:
        assert not self.runs, "a raylet that ends would be started again"
        self.drained.append(deadline_s)
        return self.takes_drain

    async def stop(self) -> None:
        self.stopped += 1


@dataclass
class Serve:
    """Takes sets, or is away."""

    deployed: list[int] = field(default_factory=list)
    away: int = 0

    async def deploy(self, topology: Topology, heard: object) -> str:
        if self.away:
            self.away -= 1
            raise Unreachable("http://head", "it is away")
        self.deployed.append(topology.revision)
        return "deployed"

    async def raise_to(self, minimums: Mapping[str, int]) -> bool:
        return True

    async def close(self) -> None:
        pass


class Nobody:
    """Neighbours, and views of them."""

    present = ()

    async def poll(self) -> None:
        pass

    async def close(self) -> None:
        pass


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    (tmp_path / "topology.toml").write_text(topology(PLACES, ""))
    file = tmp_path / "node.toml"
    file.write_text(
        'schema = "atoll.node/1"\nregion = "eu-west"\naddress = "127.2.0.9"\ntls = false\n'
        f'topology = "{tmp_path}/topology.toml"\nsecrets = "{tmp_path}/secrets"\n'
        f'data = "/var/lib/atoll"\nrun = "{tmp_path}/run"\n'
    )
    return read_node_config(file)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> list[Ray]:
    """The Ray nodes that roles have made, and quick looks at files."""
    made: list[Ray] = []

    def unit(settings: object, clock: object, chance: object, on_up: Any, on_problem: object) -> Ray:
        made.append(Ray(on_up))
        return made[-1]

    monkeypatch.setattr(ray_roles, "RayUnit", unit)
    monkeypatch.setattr(ray_roles, "_reaping", contextlib.nullcontext)
    monkeypatch.setattr(ray_roles, "LOOK_S", 0.01)
    monkeypatch.setattr(ray_roles, "RETRY_S", 0.01)
    return made


def node_of(config: NodeConfig) -> Node:
    node = Node(config, load(config.topology))
    for role in ("head", "worker"):
        node.files(role).run.mkdir(parents=True, exist_ok=True)
    return node


def head(config: NodeConfig, serve: Serve, kept: Path) -> HeadRole:
    node = node_of(config)
    return HeadRole(
        node,
        node.ray_settings("head", 0, {}),
        cast(ServeSet, serve),
        Following(config, node.topology, kept),
        cast(Neighbours, Nobody()),
        cast(GatewayViews, Nobody()),
        SystemClock(),
        random.Random(1),
    )


def worker(config: NodeConfig, kept: Path) -> WorkerRole:
    node = node_of(config)
    following = Following(config, node.topology, kept)
    return WorkerRole(node, node.ray_settings("worker", 4, {}), following, SystemClock(), random.Random(1))


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not look():
            await asyncio.sleep(0.005)


async def test_a_head_runs_what_the_topology_says_now(
    config: NodeConfig, ray: list[Ray], tmp_path: Path
) -> None:
    serve, stop = Serve(away=2), asyncio.Event()
    told: list[str] = []
    role = head(config, serve, tmp_path / "kept.toml")
    running = asyncio.create_task(role.run(stop, told.append))
    await until(lambda: bool(ray) and ray[0].runs)
    assert told == []
    ray[0].up.set()
    await until(lambda: serve.deployed == [1])  # at the third attempt
    assert told == ["Ray's head is up"]
    config.topology.write_text(topology(PLACES, "", revision=2))
    await until(lambda: serve.deployed == [1, 2])
    assert read_state_wiring(config.run / "head" / "state.json").revision == 2
    ray[0].up.clear()  # lost, and started anew
    await asyncio.sleep(0.05)
    ray[0].up.set()
    await until(lambda: serve.deployed == [1, 2, 2])
    stop.set()
    await asyncio.wait_for(running, 20)
    assert ray[0].stopped == 1


async def test_a_head_raises_nothing_before_its_services_run(
    config: NodeConfig, ray: list[Ray], tmp_path: Path
) -> None:
    serve, stop = Serve(away=10**6), asyncio.Event()
    role = head(config, serve, tmp_path / "kept.toml")
    running = asyncio.create_task(role.run(stop, lambda _: None))
    await until(lambda: bool(ray) and ray[0].runs)
    ray[0].up.set()
    await asyncio.sleep(0.05)
    assert not await role._raise_to({"quote": 2})
    serve.away = 0
    await until(lambda: serve.deployed == [1])
    await until(lambda: role._serves)
    assert await role._raise_to({"quote": 2})
    stop.set()
    await asyncio.wait_for(running, 20)


async def test_a_worker_that_is_told_to_end_leaves_first(
    config: NodeConfig, ray: list[Ray], tmp_path: Path
) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(worker(config, tmp_path / "kept.toml").run(stop, lambda _: None))
    await until(lambda: bool(ray) and ray[0].runs)
    ray[0].up.set()
    await asyncio.sleep(0.02)
    stop.set()
    await asyncio.wait_for(running, 20)
    assert ray[0].drained == [ray_roles.LEAVE_S]
    assert ray[0].stopped == 1


@pytest.mark.parametrize("taken", [True, False])
async def test_a_worker_that_was_drained_ends_by_itself(
    taken: bool, config: NodeConfig, ray: list[Ray], tmp_path: Path
) -> None:
    role = worker(config, tmp_path / "kept.toml")
    running = asyncio.create_task(role.run(asyncio.Event(), lambda _: None))
    await until(lambda: bool(ray) and ray[0].runs)
    ray[0].takes_drain = taken
    ray[0].up.set()
    await asyncio.sleep(0.02)
    assert await role.drain(7.0) is taken
    await asyncio.wait_for(running, 20)
    assert ray[0].drained == [7.0]


async def test_a_worker_that_never_joined_has_nothing_to_leave(
    config: NodeConfig, ray: list[Ray], tmp_path: Path
) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(worker(config, tmp_path / "kept.toml").run(stop, lambda _: None))
    await until(lambda: bool(ray) and ray[0].runs)
    stop.set()
    await asyncio.wait_for(running, 20)
    assert ray[0].drained == []


async def test_replicas_are_told_of_a_topology_that_came_meanwhile(
    config: NodeConfig, ray: list[Ray], tmp_path: Path
) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(worker(config, tmp_path / "kept.toml").run(stop, lambda _: None))
    config.topology.write_text(topology(PLACES, "", revision=5))
    wiring = config.run / "worker" / "state.json"
    await until(lambda: wiring.exists() and read_state_wiring(wiring).revision == 5)
    stop.set()
    await asyncio.wait_for(running, 20)
