"""Load moves: real gateways learn each other's load, spill before anybody is full, and say so."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tests.integration.gateways import IRELAND, TOKEN, TOPOLOGY, World, client, until, world
from tests.integration.ports import free_port

from atoll.clock import SystemClock
from atoll.topology.wiring import Address, PeerGateway
from atoll_gateway.board import RegionLoad
from atoll_gateway.gateway import Gateway
from atoll_gateway.peers import Peers
from atoll_gateway.run import serving

PLACES = 20
SMALL = TOPOLOGY.replace(
    "[services.echo]\n",
    f"[services.echo.replicas]\nmax_in_flight = {PLACES}\ntarget_in_flight = 8\n[services.echo]\n",
) + ("[hedge]\nenabled = false\n")
"""A region takes 20 requests of `echo` at once, and those that are held are not sent anywhere else as well."""


def in_flight(made: World, region: str) -> int:
    return made.cells[region].gateway.replicas.in_flight("echo")


@asynccontextmanager
async def held(made: World, http: httpx.AsyncClient) -> AsyncIterator[list[asyncio.Task[httpx.Response]]]:
    """Requests that stay until the block ends; then all must have been answered."""
    requests: list[asyncio.Task[httpx.Response]] = []
    try:
        yield requests
    finally:
        for cell in made.cells.values():
            for replica in cell.replicas:
                replica.held.set()
        answers = await asyncio.gather(*requests)
        assert [answer.status_code for answer in answers] == [200] * len(requests)


def hold(made: World, http: httpx.AsyncClient, region: str) -> asyncio.Task[httpx.Response]:
    url = f"{made.url(region)}/echo/hold"
    return asyncio.ensure_future(http.get(url, headers={"Atoll-Timeout": "60s"}))


async def explained(made: World, http: httpx.AsyncClient, region: str) -> dict[str, dict[str, object]]:
    """Candidates of the routing decision of a region's gateway, by region."""
    answer = await http.get(
        f"{made.cells[region].wiring.admin.url}/-/explain",
        params={"client": IRELAND, "service": "echo"},
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    assert answer.status_code == 200, answer.text
    return {one["region"]: one for one in answer.json()["routing"]["candidates"]}


async def test_load_spills_before_a_region_is_full_and_explain_says_so(tmp_path: Path) -> None:
    async with (
        world(tmp_path, topology=SMALL.replace('timeout = "3s"', 'timeout = "30s"')) as made,
        client() as http,
        held(made, http) as requests,
    ):
        calm = await explained(made, http, "us-east")
        assert calm["us-east"]["share"] == 1.0
        assert calm["us-east"]["utilization"] == 0.0
        # 13 of 20 places: above `spill_start`, and under what default requests may take.
        requests += [hold(made, http, "us-east") for _ in range(13)]
        await until(lambda: in_flight(made, "us-east") == 13)
        await until_spilling(made, http)
        busy = await explained(made, http, "us-east")
        assert busy["us-east"]["utilization"] == 0.65
        assert 0.0 < float(str(busy["eu-west"]["share"])) < 1.0
        assert "spilled to eu-west" in str(busy["us-east"]["reason"])
        assert "takes" in str(busy["eu-west"]["reason"])
        answers = [await http.get(f"{made.url('us-east')}/echo/x") for _ in range(60)]
        regions = Counter(answer.headers["atoll-region"] for answer in answers)
        assert regions["us-east"] > regions["eu-west"] > 0
        assert {answer.headers["atoll-attempts"] for answer in answers} == {"1"}, "none was refused first"


async def until_spilling(made: World, http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while float(str((await explained(made, http, "us-east"))["us-east"]["share"])) > 0.85:
            await asyncio.sleep(0.05)


async def test_a_surge_fills_other_regions_and_fails_nobody(tmp_path: Path) -> None:
    async with (
        world(tmp_path, topology=SMALL.replace('timeout = "3s"', 'timeout = "30s"')) as made,
        client() as http,
        held(made, http) as requests,
    ):
        for _ in range(45):  # a region takes 20
            requests.append(hold(made, http, "us-east"))
            await asyncio.sleep(0.02)
        await until(lambda: sum(in_flight(made, region) for region in made.cells) == 45)
        assert all(in_flight(made, region) <= PLACES for region in made.cells)
        assert not any(request.done() for request in requests)


async def test_a_response_tells_of_the_load_and_the_client_never_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Peers, "_take_loads", lambda *_: None)  # reports tell nothing
    async with world(tmp_path, topology=SMALL) as made, client() as http:
        echo = made.entry.topology.services["echo"]
        assert made.entry.board.load(echo, "eu-west") == RegionLoad(0, None)
        answer = await http.get(f"{made.url()}/echo/x", headers={"X-Forwarded-For": IRELAND})
        assert answer.headers["atoll-region"] == "eu-west"
        assert "atoll-load" not in answer.headers
        assert made.entry.board.load(echo, "eu-west") == RegionLoad(0, PLACES)
        direct = await http.get(f"{made.url('eu-west')}/echo/x")
        assert "atoll-load" not in direct.headers


async def test_two_gateways_of_a_region_know_each_other_s_load(tmp_path: Path) -> None:
    async with world(tmp_path, topology=SMALL) as made, client() as http, held(made, http) as requests:
        first = made.cells["us-east"]
        assert first.wiring.peer is not None
        (tmp_path / "second").mkdir()
        second = Gateway(
            replace(
                first.wiring,
                name="us-east/gateway-2",
                public=Address("127.0.0.1", free_port()),
                peer=Address("127.0.0.1", free_port()),
                admin=Address("127.0.0.1", free_port()),
                state_dir=tmp_path / "second",
                siblings=(PeerGateway("us-east", "us-east/gateway-1", first.wiring.peer),),
            ),
            SystemClock(),
            random.Random(5),
            None,
        )
        echo = second.topology.services["echo"]
        async with serving(second, SystemClock(), random.Random(6)):
            requests += [hold(made, http, "us-east") for _ in range(7)]
            await until(lambda: second.board.load(echo, "us-east") == RegionLoad(7, PLACES))
            answer = await http.get(
                f"{second.wiring.admin.url}/-/regions", headers={"Authorization": f"Bearer {TOKEN}"}
            )
            assert answer.json()["regions"]["us-east"]["load"]["echo"] == {"in_flight": 7, "capacity": PLACES}
            assert answer.json()["regions"]["us-east"]["peers"] == {}, "a sibling is no way to anywhere"


async def test_draining_under_load_moves_it_without_an_error(tmp_path: Path) -> None:
    async with world(tmp_path, topology=SMALL) as made, client() as http:
        stop = asyncio.Event()
        answers: list[httpx.Response] = []

        async def ask() -> None:
            while not stop.is_set():
                answers.append(await http.get(f"{made.url()}/echo/x", headers={"X-Forwarded-For": IRELAND}))

        asking = [asyncio.ensure_future(ask()) for _ in range(6)]
        drain_file = made.cells["eu-west"].wiring.drain_file
        assert drain_file is not None
        await until(lambda: len(answers) > 50)
        drain_file.touch()
        await until(lambda: made.entry.board.health()["eu-west"].draining)
        mark = len(answers) + len(asking)
        await until(lambda: len(answers) > mark + 50)
        drain_file.unlink()
        await until(lambda: not made.entry.board.health()["eu-west"].draining)
        await until(lambda: answers[-1].headers["atoll-region"] == "eu-west")
        stop.set()
        await asyncio.gather(*asking)
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.headers["atoll-region"] for answer in answers[:40]} == {"eu-west"}
        assert "eu-west" not in {answer.headers["atoll-region"] for answer in answers[mark : mark + 50]}


async def test_a_region_whose_replicas_are_all_ejected_is_tried_if_there_is_no_other(tmp_path: Path) -> None:
    async with world(tmp_path) as made, client() as http:
        cell = made.cells["eu-west"]
        url = f"{made.url('eu-west')}/echo-eu/x"
        await cell.replicas[0].stop()
        assert (await http.get(url)).status_code == 503
        await cell.replicas[0].start()
        answer = await http.get(url)
        assert answer.status_code == 200, "it had been ejected, but it was the only one"
