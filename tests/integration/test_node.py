"""Regions on machines of their own: real processes of `atoll node`, without Ray, and what goes on between them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.integration.node_machines import (
    Machine,
    addresses,
    eventually,
    running,
    start,
    topology,
    write_certificates,
    write_secrets,
)

from atoll.agent.report import CELL_REPORT, CellReport
from atoll.node.build import RoleName
from atoll.node.config import read_node_config
from atoll.node.run import check, undrain
from atoll.rpc import Client

SERVICES = """
[services.there]
kind = "origin"
route_prefix = "/there"
[services.there.origins]
us-east = ["http://{origin}"]
[namespaces.notes]
level = "eventual"
"""


async def _origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        await writer.drain()


async def _served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await _origin(reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


@pytest.fixture
async def origin() -> AsyncIterator[str]:
    server = await asyncio.start_server(_served, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def report(machine: Machine) -> CellReport:
    answer = await Client(machine.folder / "run" / "agent" / "agent.sock").call("report")
    return CELL_REPORT.validate_python(answer)


async def test_regions_on_machines(tmp_path: Path, origin: str) -> None:
    """One story, since its start is what takes time: two regions, a gateway more, a region more, drained, ended."""
    here, there, more, nobody = addresses(4)
    places = {"us-east": there, "eu-west": here}
    file = tmp_path / "topology.toml"
    services = SERVICES.format(origin=origin)
    file.write_text(topology(places, services))
    write_secrets(tmp_path, (*places, "ap-northeast"))
    write_certificates(tmp_path, tuple(places))
    east, west, second = (
        Machine("us-east", there, tmp_path / "e", file),
        Machine("eu-west", here, tmp_path / "w", file),
        Machine("eu-west", more, tmp_path / "v", file),
    )
    east.write("1")
    west.write("1")
    second.write("i-2")
    async with AsyncExitStack() as stack:
        for roles in (("cache", "state"), ("agent", "gateway")):
            for machine in (east, west):
                await stack.enter_async_context(running(machine, *roles))
        await stack.enter_async_context(running(second, "gateway"))

        # A request goes over the link, through gateways that know each other by certificate.
        async def forwarded() -> bool:
            answer = await west.ask("/there/x")
            return answer.status_code == 200 and answer.headers["atoll-region"] == "us-east"

        await eventually(forwarded)
        assert (await second.ask("/there/x")).text == "hello"

        # State is replicated both ways.
        async def in_step() -> bool:
            reports = [await report(machine) for machine in (east, west)]
            return all(_in_step(one) for one in reports)

        await eventually(in_step)

        token = f"Bearer {west.token('admin-token')}"
        figures = (await west.ask("/-/metrics", port=9902, authorization=token)).text
        assert 'atoll_state_up{region="eu-west"} 1.0' in figures
        assert (await west.ask("/-/metrics", port=9902)).status_code == 401

        # Gateways of one region, and its agent, have found each other.
        async def acquainted() -> bool:
            seen = (await report(west)).gateways
            return {name for name, gateway in seen.items() if gateway.answers} == {
                "eu-west/gateway-1",
                "eu-west/gateway-i-2",
            }

        async def wired() -> bool:
            return "eu-west/gateway-i-2" in (west.folder / "run" / "gateway" / "wiring.json").read_text()

        await eventually(acquainted)
        await eventually(wired)

        # A region joins: nothing on these machines changes but the topology.
        file.write_text(topology({**places, "ap-northeast": nobody}, services, revision=2))

        async def joined() -> bool:
            view: dict[str, Any] = await west.view()
            return view["topology"]["revision"] == 2 and "ap-northeast" in view["regions"]

        await eventually(joined)
        file.write_text("revision = ")  # a bad one is told of, and changes nothing

        async def told() -> bool:
            view: dict[str, Any] = await west.view()
            return view["topology"]["error"] is not None

        await eventually(told)
        assert (await west.ask("/there/x")).status_code == 200
        check(RoleName.GATEWAY, read_node_config(west.config))  # nor does it keep a role from starting

        # A machine drains, and comes back.
        assert (await second.ask("/-/readyz")).status_code == 200
        status, said = await second.atoll("drain", "--deadline", "10")
        assert status == 0, said
        assert "gateway" in said
        assert (await second.ask("/-/readyz")).status_code == 503
        assert (await west.ask("/-/readyz")).status_code == 200  # the other one of the region doesn't
        assert await undrain(read_node_config(second.config)) == ("gateway",)

        async def back() -> bool:
            return (await second.ask("/-/readyz")).status_code == 200

        await eventually(back)

        # Each ends in order, says so, and leaves nothing.
        children = [
            child
            for machine in (east, west, second)
            for role in machine.roles.values()
            for child in role.children()
        ]
        assert len(children) == 9
        for machine in (second, west):
            gateway = machine.roles["gateway"]
            assert await gateway.end() == 0, gateway.log.read_text()[-2000:]
            await gateway.until("STOPPING=1")
            assert any("WATCHDOG=1" in message for message in gateway.messages)
    assert not [child for child in children if child.is_running()]


def _in_step(one: CellReport) -> bool:
    state = one.state
    return (
        state is not None and state.complete and [peer.connected for peer in state.peers.values()] == [True]
    )


async def test_a_role_ends_with_its_process_and_says_how(tmp_path: Path) -> None:
    (address,) = addresses(1)
    file = tmp_path / "topology.toml"
    file.write_text(topology({"us-east": address}, ""))
    write_secrets(tmp_path, ("us-east",))
    machine = Machine("us-east", address, tmp_path / "m", file)
    machine.write("1", "tls = false")
    async with start(machine, "cache") as cache:
        await cache.until("READY=1")
        (store,) = cache.children()
        store.kill()
        assert await asyncio.wait_for(cache.process.wait(), 120) == 3
        assert "ended by SIGKILL" in cache.log.read_text()
    async with start(machine, "cache") as again:  # as systemd does
        await again.until("READY=1")
