"""Regions that come and go under gateways that serve: with the topology, and not before their addresses are known."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.integration.gateways import IRELAND, JAPAN, TOPOLOGY, VIRGINIA, World, client, until, world

from atoll_gateway.answers import Answers
from atoll_gateway.gateway import Gateway

GONE = "ap-northeast"
NEXT = "eu-west"
"""The nearest to Japan as the crow flies, for those who know of no region that could tell how cables run."""


def _without(text: str) -> str:
    """A topology's text without the region, its zone and its links."""
    tables = re.split(r"(?m)^(?=\[)", text)
    gone = ("[zones.apac]", "[regions.ap-northeast]")
    kept = (table for table in tables if not table.startswith(gone))
    return "".join(table for table in kept if not (table.startswith("[[links]]") and GONE in table))


@dataclass
class Clients:
    """Requests from three places through the entry, and those of a client that talks to a gateway."""

    world: World
    answered: list[str] = field(default_factory=list)
    """Regions, of clients in Japan."""
    failed: Counter[str] = field(default_factory=Counter)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        async with client() as http:
            while not self.stop.is_set():
                for url, place in (
                    (self.world.url(), JAPAN),
                    (self.world.url(), IRELAND),
                    (self.world.url("us-east"), VIRGINIA),
                ):
                    answer = await http.get(f"{url}/echo/x", headers={"X-Forwarded-For": place})
                    if answer.status_code != 200:
                        self.failed[answer.text] += 1
                    elif place == JAPAN:
                        self.answered.append(answer.text)

    async def served_by(self, region: str) -> None:
        since = len(self.answered)
        await until(lambda: region in self.answered[since:])


@dataclass
class Operator:
    """Does to the gateways that stay what the supervisor does."""

    world: World

    def __post_init__(self) -> None:
        self.gateways = (
            self.world.entry,
            *(self.world.cells[name].gateway for name in ("us-east", "eu-west")),
        )
        self._whole = {gateway.wiring.name: gateway.wiring for gateway in self.gateways}

    def rewire(self, *, without: str = "") -> None:
        for gateway in self.gateways:
            whole = self._whole[gateway.wiring.name]
            gateway.rewire(
                replace(whole, peers=tuple(peer for peer in whole.peers if peer.region != without))
            )

    def edit(self, text: str, revision: int) -> None:
        self.world.topology_file.write_text(text.replace("revision = 1", f"revision = {revision}"))

    def drain(self, region: str) -> None:
        file = self.world.cells[region].wiring.drain_file
        assert file is not None
        file.touch()

    async def taken_up(self, revision: int) -> None:
        await until(lambda: all(gateway.topology.revision == revision for gateway in self.gateways))

    async def refused(self) -> None:
        def said(gateway: Gateway) -> bool:
            error = gateway.topology_file.statistics().error or ""
            return f"({GONE})" in error and "atoll up" in error

        await until(lambda: all(said(gateway) for gateway in self.gateways))


@asynccontextmanager
async def asking(made: World) -> AsyncIterator[Clients]:
    clients = Clients(made)
    going = asyncio.create_task(clients.run())
    try:
        yield clients
    finally:
        clients.stop.set()
        await going
    assert not clients.failed, clients.failed


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def test_a_region_goes_and_comes_back_while_requests_run(three: World) -> None:
    operator = Operator(three)
    ireland = three.cells["eu-west"].gateway
    async with asking(three) as clients:
        await clients.served_by(GONE)
        operator.edit(_without(TOPOLOGY), 2)
        await operator.refused()
        await clients.served_by(GONE)

        operator.drain(GONE)
        await clients.served_by("us-east")
        operator.rewire(without=GONE)
        await operator.taken_up(2)
        for gateway in operator.gateways:
            assert GONE not in gateway.peers.regions
            assert GONE not in Answers(gateway).regions().regions
            assert f'atoll_peer_healthy{{gateway="{GONE}' not in Answers(gateway).exposition()[0].decode()
        await three.cells[GONE].kill()
        await clients.served_by(NEXT)
        steered = Answers(ireland).steer("127.0.0.1", {})
        assert {gateway.region for gateway in steered.gateways} == {"us-east", "eu-west"}

        operator.edit(TOPOLOGY, 3)
        await operator.refused()
        operator.rewire()
        await operator.taken_up(3)
        assert [peer.health.healthy for peer in ireland.peers.of(GONE)] == [False], "it is watched anew"
        await clients.served_by("us-east")


async def test_a_new_region_is_sent_to_once_it_is_heard(three: World) -> None:
    operator = Operator(three)
    operator.edit(_without(TOPOLOGY), 2)
    operator.rewire(without=GONE)
    await operator.taken_up(2)
    async with asking(three) as clients:
        await clients.served_by(NEXT)
        operator.edit(TOPOLOGY, 3)
        operator.rewire()
        await clients.served_by(GONE)
        async with client() as http:
            headers = {"X-Forwarded-For": JAPAN, "Idempotency-Key": '"key-1"'}
            answer = await http.put(f"{three.url()}/echo/x", headers=headers)
        assert answer.headers["atoll-region"] == GONE


async def test_control_a_region_that_just_ends_is_asked_on(three: World) -> None:
    """What removing it spares: its peers go on looking for it, and its clients' keys have their home there."""
    async with asking(three) as clients:
        await clients.served_by(GONE)
        await three.cells[GONE].kill()
        await clients.served_by("us-east")
    assert all(GONE in gateway.peers.regions for gateway in Operator(three).gateways)
    assert three.entry.board.health()[GONE].healthy is False


async def test_an_edit_of_anything_else_needs_no_rewiring(three: World) -> None:
    operator = Operator(three)
    operator.edit(TOPOLOGY.replace("rtt_ms = 74", "rtt_ms = 75"), 2)
    await operator.taken_up(2)
    assert three.entry.topology.rtt_ms("us-east", "eu-west") == 75
