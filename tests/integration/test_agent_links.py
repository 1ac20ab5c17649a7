"""Agents of two regions on real sockets: they reach each other through links, which are slow and can be cut."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.ports import free_base

from atoll.cell.links.control import LinksClient, serve_control
from atoll.cell.links.network import Network, Selection
from atoll.cell.paths import RunPaths
from atoll.cell.port_check import first_taken
from atoll.cell.ports import PortPlan, plan_ports
from atoll.cell.wiring import links_config
from atoll.channel import Answerer, Caller, CallError, ChannelServer, Handler, NotSent, Wire, serve_channels
from atoll.clock import SystemClock
from atoll.topology import Topology, load

TOPOLOGY = Path(__file__).parents[2] / "infra" / "topologies" / "local.toml"
SECRET = b"a-secret-for-tests-only"

pytestmark = pytest.mark.timeout(240)


@dataclass(slots=True)
class World:
    """The links of a run, an agent's listener in each region, and a caller for each way."""

    topology: Topology
    plan: PortPlan
    links: LinksClient
    callers: dict[tuple[str, str], Caller]

    async def ask(self, source: str, destination: str, timeout_s: float = 10.0) -> Wire:
        return await self.callers[source, destination].call("where", None, timeout_s)


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[World]:
    topology = load(TOPOLOGY)
    plan = plan_ports(topology, free_base(4))
    while first_taken(plan, topology) is not None:
        plan = plan_ports(topology, free_base(4))
    config = links_config(topology, plan, RunPaths(tmp_path))
    network = Network(config, SystemClock())
    servers: list[ChannelServer] = []
    callers: dict[tuple[str, str], Caller] = {}
    async with contextlib.AsyncExitStack() as stack:
        for region, ports in plan.regions.items():
            servers.append(
                await serve_channels(ports.agent, SECRET, region, {"calls": Answerer(_methods(region))})
            )
            await stack.enter_async_context(servers[-1])
        network.start()
        stack.push_async_callback(network.close)
        await stack.enter_async_context(await serve_control(config.control, network))
        for source in topology.regions:
            for destination, address in plan.agents_of(source).items():
                callers[source, destination] = Caller(address, SECRET, source)
        yield World(topology, plan, LinksClient(config.control), callers)
        await asyncio.gather(*(caller.close() for caller in callers.values()))


def _methods(region: str) -> dict[str, Handler]:
    async def where(caller: str, body: Wire) -> Wire:
        return [region, caller]

    return {"where": where}


async def test_agents_reach_each_other_at_the_speed_of_the_link(three: World) -> None:
    for source, destination in three.callers:
        assert await three.ask(source, destination) == (destination, source)  # the connection, once
        started = time.monotonic()
        await three.ask(source, destination)
        assert time.monotonic() - started >= three.topology.rtt_ms(source, destination) / 1000


async def test_a_cut_between_two_regions_cuts_their_agents_off_and_no_others(three: World) -> None:
    for way in three.callers:
        await three.ask(*way)
    await three.links.set(Selection("us-east", "eu-west"), cut=True)
    for way in (("us-east", "eu-west"), ("eu-west", "us-east")):
        with pytest.raises(CallError):
            await three.ask(*way, timeout_s=1.0)
    for way in (("us-east", "ap-northeast"), ("ap-northeast", "eu-west")):
        assert await three.ask(*way) == (way[1], way[0])
    await three.links.heal()
    for way in (("us-east", "eu-west"), ("eu-west", "us-east")):
        assert await three.ask(*way) == (way[1], way[0])


async def test_a_slow_link_slows_agents_down(three: World) -> None:
    await three.ask("us-east", "eu-west")
    await three.links.set(Selection("us-east", "eu-west"), latency_ms=300)
    started = time.monotonic()
    await three.ask("us-east", "eu-west")
    assert time.monotonic() - started >= 0.6


async def test_whoever_has_another_secret_gets_no_answer(three: World) -> None:
    stranger = Caller(three.plan.agents_of("us-east")["eu-west"], b"another", "us-east")
    with pytest.raises(NotSent):
        await stranger.call("where", None, 10.0)
    await stranger.close()
