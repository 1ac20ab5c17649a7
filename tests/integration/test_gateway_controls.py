"""Negative controls: each takes one mechanism out and shows that what `test_gateway.py` promises is then broken."""

import asyncio
from pathlib import Path

import pytest
from tests.integration.gateways import IRELAND, JAPAN, client, from_address, until, world

from atoll.resilience.replay import Replay
from atoll.topology.wiring import Address
from atoll_gateway.layers.retry import Retry
from atoll_gateway.message import Request, Response
from atoll_gateway.table import Table


async def test_without_failover_reads_are_lost_with_their_region(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def first_region_alone(self: Retry, request: Request) -> Response:
        assert request.ranking is not None
        return await self._next(request, request.ranking.regions[0])

    monkeypatch.setattr(Retry, "__call__", first_region_alone)
    async with world(tmp_path) as made, client() as http:
        replica = made.cells["eu-west"].replicas[0]
        waiting = asyncio.ensure_future(http.get(f"{made.url('eu-west')}/echo/hold"))
        await replica.reached()
        await replica.stop()
        assert (await waiting).status_code == 502


async def test_without_the_replay_rule_a_write_is_executed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll.resilience.attempts.replay", lambda *_, **__: Replay.IDEMPOTENT)
    monkeypatch.setattr(Request, "replay_safe", True)
    async with world(tmp_path) as made, client() as http:
        replica = made.cells["eu-west"].replicas[0]
        made.cells["us-east"].replicas[0].held.set()
        waiting = asyncio.ensure_future(
            http.post(f"{made.url()}/echo/hold", content=b"buy", headers={"X-Forwarded-For": IRELAND})
        )
        await replica.reached()
        await made.cells["eu-west"].kill()
        assert (await waiting).status_code == 200
        assert made.seen("eu-west") and made.seen("us-east"), "the purchase happened in two regions"


async def test_without_residency_a_request_leaves_its_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll_gateway.edge.allowed_zones", lambda *_: frozenset(("us", "eu", "apac")))
    async with world(tmp_path) as made, client() as http:
        text = made.topology_file.read_text().replace("revision = 1", "revision = 2")
        made.topology_file.write_text(text.replace('residency = ["eu"]\n', "", 1))
        await until(lambda: all(cell.gateway.topology.revision == 2 for cell in made.cells.values()))
        cell = made.cells["us-east"]
        replicas = (Address("127.0.0.1", cell.replicas[0].port),)
        cell.gateway.replicas.update({"echo": replicas, "echo-eu": replicas})
        response = await http.get(f"{made.url('us-east')}/echo-eu/x")
        assert response.headers["atoll-region"] == "us-east"


async def test_without_the_list_of_trusted_proxies_anybody_chooses_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Table, "is_trusted_proxy", lambda self, address: address.startswith("127."))
    async with world(tmp_path) as made, from_address("127.0.0.2") as http:
        response = await http.get(f"{made.url()}/echo/x", headers={"X-Forwarded-For": JAPAN})
        assert response.headers["atoll-region"] == "ap-northeast"


async def test_without_taking_headers_out_a_client_speaks_as_a_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll_gateway.edge.DROPPED_WITHOUT_TRACE", frozenset[bytes]())
    async with world(tmp_path) as made, client() as http:
        await http.get(f"{made.url('us-east')}/echo/x", headers={"Atoll-Zones": "nowhere"})
        (_, _, headers, _) = made.seen("us-east")[0]
        assert headers["atoll-zones"] == "nowhere"
