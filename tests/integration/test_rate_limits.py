"""Rate limits of real gateways: what clients see, and how the gateways of a region keep one limit together."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import httpx
import pytest
from redis.asyncio import Redis
from tests.integration.gateways import TOPOLOGY, World, client, from_address, world
from tests.integration.ports import free_port
from tests.integration.stores import Store, state_stores

from atoll.clock import ManualClock, SystemClock
from atoll.resilience.ratelimit import RateLimit
from atoll.topology import Rate, parse
from atoll.topology.wiring import Address, StoreAccess
from atoll_gateway.gateway import Gateway
from atoll_gateway.rate_limits import RateLimits, ServiceLimits, client_key
from atoll_gateway.run import serving

LIMITED = (
    TOPOLOGY
    + """
[services.slow-lane]
route_prefix = "/slow-lane"
import_path = "tests.echo:app"
[services.slow-lane.client_rate_limit]
rate = "6/min"
burst = 3
[services.shop]
route_prefix = "/shop"
import_path = "tests.echo:app"
[services.shop.rate_limit]
rate = "6/min"
burst = 4
[services.shop.client_rate_limit]
rate = "20/min"
burst = 20
[services.flooded]
route_prefix = "/flooded"
import_path = "tests.echo:app"
[services.flooded.client_rate_limit]
rate = "3/s"
burst = 3
"""
)


@pytest.fixture
async def limited(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, topology=LIMITED) as made:
        yield made


async def test_a_client_over_its_rate_gets_429_that_says_when_to_come_back(limited: World) -> None:
    async with client() as http, from_address("127.0.0.2") as neighbour:
        url = f"{limited.url('us-east')}/slow-lane/x"
        answers = [await http.get(url) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["ratelimit-policy"] for answer in answers] == ['"client";q=3;w=30'] * 4
        assert [answer.headers["ratelimit"].split(";t=")[0] for answer in answers] == [
            f'"client";r={left}' for left in (2, 1, 0, 0)
        ]
        refused = answers[-1]
        problem = refused.json()
        assert problem["type"] == "urn:atoll:problem:rate-limited"
        assert refused.headers["content-type"] == "application/problem+json"
        assert 1 <= int(refused.headers["retry-after"]) <= 10
        assert refused.headers["atoll-attempts"] == "0"
        assert refused.headers["x-request-id"] == problem["request_id"]
        assert len(limited.seen("us-east")) == 3
        assert (await neighbour.get(url)).status_code == 200


async def test_a_limit_of_the_service_holds_for_all_clients_together(limited: World) -> None:
    async with client() as one, from_address("127.0.0.2") as other:
        url = f"{limited.url('us-east')}/shop/x"
        answers = [await (one if number % 2 else other).get(url) for number in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
    assert answers[0].headers["ratelimit-policy"] == '"client";q=20;w=60, "service";q=4;w=40'
    assert answers[3].headers["ratelimit"].startswith('"client";r=1')
    assert '"service";r=0' in answers[3].headers["ratelimit"]


async def test_a_service_without_limits_says_nothing_of_them(limited: World) -> None:
    async with client() as http:
        answer = await http.get(f"{limited.url('us-east')}/echo/x")
    assert answer.status_code == 200
    assert "ratelimit" not in answer.headers and "ratelimit-policy" not in answer.headers


async def test_only_the_first_hop_counts(limited: World) -> None:
    async with client() as http:
        statuses = [(await http.get(f"{limited.url()}/slow-lane/x")).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    for cell in limited.cells.values():
        assert all(each.admitted == 0 for each in cell.gateway.rate_limits.statistics().values())


@asynccontextmanager
async def two_gateways(made: World, folder: Path, access: StoreAccess | None) -> AsyncIterator[list[Gateway]]:
    """Two more gateways of one region, before the same replica."""
    cell = made.cells["us-east"]
    gateways: list[Gateway] = []
    async with asyncio.timeout(60):
        for number in (2, 3):
            state_dir = folder / f"gateway-{number}"
            state_dir.mkdir()
            wiring = replace(
                cell.wiring,
                name=f"us-east/gateway-{number}",
                public=Address("127.0.0.1", free_port()),
                peer=Address("127.0.0.1", free_port()),
                admin=Address("127.0.0.1", free_port()),
                state_dir=state_dir,
                cache=access,
            )
            gateways.append(Gateway(wiring, SystemClock(), random.Random(number), None))
        async with (
            serving(gateways[0], SystemClock(), random.Random(5)),
            serving(gateways[1], SystemClock(), random.Random(6)),
        ):
            for gateway in gateways:
                placed = dict.fromkeys(
                    gateway.topology.services, (Address("127.0.0.1", cell.replicas[0].port),)
                )
                gateway.replicas.update(placed)
            yield gateways


FLOODED = Rate(3.0, 3)
"""Of the service ``flooded``. So low that a slow machine asks for more, too, and what one gateway admits before it
hears of the other is little.
"""
FLOOD_S = 6.0


async def flood(gateways: list[Gateway], seconds: float) -> float:
    """One client sends to both as fast as it is answered. Gives what was admitted, as a share of what one limit admits
    of the same requests: if the machine stands still, it loses as much as theirs.
    """
    one = RateLimit(SystemClock(), FLOODED)
    admitted = 0
    ends = time.monotonic() + seconds

    async def ask(http: httpx.AsyncClient, gateway: Gateway) -> None:
        nonlocal admitted
        while time.monotonic() < ends:
            one.take("the client")
            answer = await http.get(f"{gateway.wiring.public.url}/flooded/x")
            assert answer.status_code in {200, 429}
            admitted += answer.status_code == 200
            if answer.status_code == 429:
                await asyncio.sleep(0.005)

    async with client() as http:
        await asyncio.gather(*(ask(http, gateway) for gateway in gateways))
    print(admitted, one.statistics())
    return admitted / one.statistics().admitted


def charged(gateway: Gateway) -> int:
    """How much it has learned that the other admitted."""
    return sum(each.charged for each in gateway.rate_limits.statistics().values())


async def test_two_gateways_keep_one_limit_together_through_the_store(limited: World, tmp_path: Path) -> None:
    async with (
        state_stores(tmp_path, ("us-east",)) as stores,
        two_gateways(limited, tmp_path, stores["us-east"].access) as gateways,
    ):
        assert 0.7 < await flood(gateways, FLOOD_S) < 1.4
        async with asyncio.timeout(
            60
        ):  # each learns of the other, also where one of them was always the first
            while not all(charged(gateway) for gateway in gateways):
                for gateway in gateways:
                    await flood([gateway], 0.3)


async def test_control_without_a_store_each_keeps_its_own(limited: World, tmp_path: Path) -> None:
    async with two_gateways(limited, tmp_path, None) as gateways:
        assert await flood(gateways, FLOOD_S) > 1.6


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_without_the_store_local_limits_hold_and_nothing_waits(
    limited: World, tmp_path: Path, fault: str
) -> None:
    async with (
        state_stores(tmp_path, ("us-east",)) as stores,
        two_gateways(limited, tmp_path, stores["us-east"].access) as gateways,
    ):
        store: Store = stores["us-east"]
        async with client() as http:
            url = f"{gateways[0].wiring.public.url}/slow-lane/x"
            assert (await http.get(url)).status_code == 200
            if fault == "killed":
                await store.kill()
            else:
                store.freeze()
            await asyncio.sleep(0.3)  # a settlement is under way now, and gets no answer
            took, statuses = [], []
            for _ in range(5):
                before = time.monotonic()
                statuses.append((await http.get(url)).status_code)
                took.append(time.monotonic() - before)
        print(took)
        assert statuses == [200, 200, 429, 429, 429]
        assert max(took) < 1.5  # a store that hangs is given up after 2 s
        if fault == "frozen":
            store.thaw()
        else:
            await store.start()
        # It is settled again as soon as the store is back.
        async with asyncio.timeout(60):
            while not any("flooded" in key for gateway in gateways for key in gateway.rate_limits._seen):
                await flood(gateways, 0.3)


class Forgetful:
    """A store whose client is cancelled and answers all the same, as redis-py may under Python 3.11."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def pipeline(self, **_: object) -> "Forgetful":
        return self

    def incrby(self, *_: object) -> None: ...

    def expire(self, *_: object) -> None: ...

    async def execute(self) -> list[int]:
        self.asked.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return [1, 1]

    async def aclose(self) -> None: ...


async def test_a_gateway_ends_while_the_store_is_asked() -> None:
    store = Forgetful()
    limits = RateLimits(SystemClock(), cast("Redis", store))
    limits.use(parse(LIMITED))
    limits.services["flooded"].take("a client")
    sharing = asyncio.create_task(limits.share())
    await store.asked.wait()
    sharing.cancel()
    await asyncio.wait({sharing}, timeout=10)
    assert sharing.cancelled()


def test_an_ipv6_client_is_its_network() -> None:
    assert client_key("192.0.2.1") == "192.0.2.1"
    assert client_key("2001:db8:1:2::1") == client_key("2001:db8:1:2:ffff::9")
    assert client_key("2001:db8:1:2::1") != client_key("2001:db8:1:3::1")
    assert client_key("::ffff:192.0.2.1") == "192.0.2.1"
    assert client_key("not:an:address") == "not:an:address"


@pytest.mark.parametrize(
    ("rate", "policy"),
    [
        (Rate(20.0, 20), b'"client";q=20;w=1'),
        (Rate(500.0, 50), b'"client";q=500;w=1'),
        (Rate(5 / 60, 5), b'"client";q=5;w=60'),
        (Rate(10.0, 100), b'"client";q=100;w=10'),
    ],
)
def test_the_policy_is_a_quota_in_a_window(rate: Rate, policy: bytes) -> None:
    limits = ServiceLimits(ManualClock(), None, rate)
    assert dict(limits.headers("a"))[b"ratelimit-policy"] == policy
    assert dict(limits.headers("a"))[b"ratelimit"] == b'"client";r=%d;t=0' % rate.burst
