"""Namespaces at real gateways: their residency binds requests, and a level that would move is refused."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.gateways import (
    IRELAND,
    JAPAN,
    TOKEN,
    TOPOLOGY,
    VIRGINIA,
    World,
    client,
    until,
    world,
)

from atoll.clock import SystemClock
from atoll.topology.wiring import Address
from atoll_gateway.gateway import Gateway

SHOP = """
[services.shop]
route_prefix = "/shop"
import_path = "tests.echo:app"
namespaces = ["carts", "prices"]
[namespaces.carts]
level = "session"
residency = ["eu"]
[namespaces.prices]
level = "eventual"
"""


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, topology=TOPOLOGY + SHOP) as made:
        yield made


async def test_a_request_is_executed_where_all_its_namespaces_may_have_their_data(three: World) -> None:
    async with client() as http:
        for region in (None, "us-east", "ap-northeast"):
            for place in (VIRGINIA, IRELAND, JAPAN):
                response = await http.get(f"{three.url(region)}/shop/x", headers={"X-Forwarded-For": place})
                assert (response.status_code, response.headers["atoll-region"]) == (200, "eu-west")
        await three.cells["eu-west"].kill()
        await until(lambda: not three.entry.board.health()["eu-west"].healthy)
        response = await http.get(f"{three.url()}/shop/x", headers={"X-Forwarded-For": VIRGINIA})
    assert response.status_code == 503
    assert not three.seen("us-east") and not three.seen("ap-northeast")


async def test_explain_names_each_namespace_as_a_restriction(three: World) -> None:
    admin = three.cells["us-east"].wiring.admin.url
    async with client() as http:
        document = (
            await http.get(
                f"{admin}/-/explain",
                params={"client": VIRGINIA, "service": "shop"},
                headers={"Authorization": f"Bearer {TOKEN}"},
            )
        ).json()
    assert document["residency"] == {
        "zones": ["eu"],
        "restrictions": [
            {"source": "service shop", "zones": ["apac", "eu", "us"]},
            {"source": "namespace carts", "zones": ["eu"]},
            {"source": "namespace prices", "zones": ["apac", "eu", "us"]},
        ],
    }
    assert document["routing"]["chosen"] == "eu-west"


async def test_a_namespace_s_residency_is_taken_up_while_gateways_run(three: World) -> None:
    text = three.topology_file.read_text().replace("revision = 1", "revision = 2")
    three.topology_file.write_text(
        text.replace('level = "session"\nresidency = ["eu"]', 'level = "session"\nresidency = ["us"]')
    )
    gateways = [three.entry, *(cell.gateway for cell in three.cells.values())]
    await until(lambda: all(gateway.topology.revision == 2 for gateway in gateways))
    assert three.entry.topology.services["shop"].regions == ("us-east",)
    us = three.cells["us-east"]
    us.gateway.replicas.update({"shop": (Address("127.0.0.1", us.replicas[0].port),)})
    await until(three.agrees)
    async with client() as http:
        response = await http.get(f"{three.url()}/shop/x", headers={"X-Forwarded-For": IRELAND})
    assert response.headers["atoll-region"] == "us-east"


async def test_a_level_that_would_move_is_refused_and_nothing_changes(three: World) -> None:
    text = three.topology_file.read_text()
    gateways = [three.entry, *(cell.gateway for cell in three.cells.values())]
    three.topology_file.write_text(
        text.replace("revision = 1", "revision = 2").replace('level = "session"', 'level = "eventual"')
    )
    await until(lambda: all(gateway.topology_file.statistics().error for gateway in gateways))
    for gateway in gateways:
        assert "namespaces.carts would move from level 'session' to level 'eventual'" in str(
            gateway.topology_file.statistics().error
        )
        assert gateway.topology.revision == 1
    cell = three.cells["us-east"]
    restarted = Gateway(cell.wiring, SystemClock(), random.Random(0), None)
    assert restarted.topology.digest == cell.gateway.topology.digest, "a restart is no way around it"
    restarted.close()


async def test_without_the_check_a_level_moves(three: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.topology.succession.check_namespaces", lambda *_: None)
    text = three.topology_file.read_text()
    three.topology_file.write_text(
        text.replace("revision = 1", "revision = 2").replace('level = "session"', 'level = "eventual"')
    )
    await until(lambda: three.entry.topology.revision == 2)
