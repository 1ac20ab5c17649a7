"""Services that are not on Ray: plain HTTP addresses, behind the same layers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from tests.integration.gateways import (
    IRELAND,
    JAPAN,
    TOPOLOGY,
    VIRGINIA,
    Replica,
    World,
    client,
    until,
    world,
)


@asynccontextmanager
async def shops(folder: Path, more: str = "") -> AsyncIterator[tuple[World, dict[str, list[Replica]]]]:
    """The harness with an origin service: two addresses in Virginia, one in Ireland, none in Tokyo."""
    origins = {
        "us-east": [Replica("us-east"), Replica("us-east")],
        "eu-west": [Replica("eu-west")],
    }
    for replicas in origins.values():
        for replica in replicas:
            await replica.start()
    lines = [
        f"{region} = [{', '.join(f'{chr(34)}http://127.0.0.1:{replica.port}{chr(34)}' for replica in replicas)}]"
        for region, replicas in origins.items()
    ]
    service = "\n".join(
        [
            "[services.shop]",
            'kind = "origin"',
            'route_prefix = "/shop"',
            'timeout = "10s"',
            more,
            "[services.shop.origins]",
            *lines,
        ]
    )
    try:
        async with world(folder, topology=TOPOLOGY + service) as atoll:
            yield atoll, origins
    finally:
        for replicas in origins.values():
            for replica in replicas:
                await replica.stop()


async def ask(atoll: World, address: str, path: str = "/shop/x", **headers: str) -> httpx.Response:
    async with client() as http:
        return await http.get(atoll.url() + path, headers={"X-Forwarded-For": address, **headers})


async def test_an_origin_is_served_from_the_nearest_region_that_has_it(tmp_path: Path) -> None:
    async with shops(tmp_path) as (atoll, origins):
        assert (await ask(atoll, VIRGINIA)).headers["atoll-region"] == "us-east"
        assert (await ask(atoll, IRELAND)).headers["atoll-region"] == "eu-west"
        assert (await ask(atoll, JAPAN)).headers["atoll-region"] == "us-east", "Tokyo has none"
        for _ in range(20):
            await ask(atoll, VIRGINIA)
        assert all(replica.seen for replica in origins["us-east"]), "both addresses get their part"


async def test_an_origin_gets_the_path_as_it_came_and_how_long_it_may_take(tmp_path: Path) -> None:
    async with shops(tmp_path) as (atoll, origins):
        await ask(atoll, IRELAND, "/shop/a%2Fb//c?q=1", **{"Atoll-Timeout": "700ms"})
        ((_, target, headers, _),) = origins["eu-west"][0].seen
        assert target == "/shop/a%2Fb//c?q=1"
        assert 0 < int(headers["atoll-deadline-ms"]) <= 700
        assert "x-request-timeout-seconds" not in headers, "that is Serve's"


async def test_the_prefix_is_stripped_where_the_topology_says_so(tmp_path: Path) -> None:
    async with shops(tmp_path, "strip_prefix = true") as (atoll, origins):
        for path in ("/shop/a?q=/shop", "/shop", "/shop?q"):
            await ask(atoll, IRELAND, path)
        assert [target for _, target, _, _ in origins["eu-west"][0].seen] == ["/a?q=/shop", "/", "/?q"]
        assert (await ask(atoll, JAPAN, "/shop/far")).headers["atoll-region"] == "us-east"
        seen = [target for replica in origins["us-east"] for _, target, _, _ in replica.seen]
        assert seen == ["/far"], "stripped once, where it is served"


async def test_a_lost_address_and_a_lost_region_cost_no_request(tmp_path: Path) -> None:
    async with shops(tmp_path) as (atoll, origins):
        await origins["us-east"][0].stop()
        answers = await asyncio.gather(*(ask(atoll, VIRGINIA) for _ in range(30)))
        assert {answer.headers["atoll-region"] for answer in answers} == {"us-east"}
        await origins["us-east"][1].stop()
        answers = await asyncio.gather(*(ask(atoll, VIRGINIA) for _ in range(30)))
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.headers["atoll-region"] for answer in answers} == {"eu-west"}


async def test_addresses_change_with_the_topology(tmp_path: Path) -> None:
    async with shops(tmp_path) as (atoll, origins):
        text = atoll.topology_file.read_text()
        gone, stays = origins["us-east"]
        atoll.topology_file.write_text(
            text.replace(f'"http://127.0.0.1:{gone.port}", ', "").replace("revision = 1", "revision = 2")
        )
        await until(lambda: atoll.cells["us-east"].gateway.topology.revision == 2)
        for _ in range(20):
            await ask(atoll, VIRGINIA)
        assert not gone.seen and len(stays.seen) == 20
