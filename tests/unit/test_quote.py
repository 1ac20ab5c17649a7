"""The quote service, without Ray: tariff, load on demand, and its HTTP interface."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from atoll.sdk import Coordinates, Region
from atoll_services.cities import City
from atoll_services.quote.api import Server, create_api
from atoll_services.quote.cities import CityBook, UnknownCityError
from atoll_services.quote.tariff import MAX_WEIGHT_G, TariffZone, price
from atoll_services.quote.work import SLICE_MS, burn, wait

TOKYO = City(1850147, "Tokyo", "JP", Coordinates(35.6895, 139.6917), 9_733_276)
NEW_YORK = City(5128581, "New York City", "US", Coordinates(40.7143, -74.006), 8_804_190)
LONDON = City(2643743, "London", "GB", Coordinates(51.5085, -0.1257), 8_961_989)
LOS_ANGELES = City(5368361, "Los Angeles", "US", Coordinates(34.0522, -118.2437), 3_898_747)
DUBLIN = City(2964574, "Dublin", "IE", Coordinates(53.3331, -6.2489), 1_024_027)
CORK = City(2965140, "Cork", "IE", Coordinates(51.898, -8.4706), 190_384)
CITIES = (TOKYO, LONDON, NEW_YORK, LOS_ANGELES, DUBLIN, CORK)

cities = st.sampled_from(CITIES)
weights = st.integers(1, MAX_WEIGHT_G)


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    server = Server(region=Region("eu-west", "eu"), replica="abc123", pid=4711)
    # Mounted as Serve mounts it: the path keeps the route prefix, which is the root path.
    api = create_api(CityBook(CITIES), server, chance=lambda: 0.35)
    transport = httpx.ASGITransport(api, root_path="/quote")
    async with httpx.AsyncClient(transport=transport, base_url="http://cell") as client:
        yield client


@pytest.mark.parametrize(
    ("origin", "destination", "weight_g", "expected"),
    [
        (DUBLIN, DUBLIN, 1, (TariffZone.DOMESTIC, 115, 1)),
        (DUBLIN, CORK, 50, (TariffZone.DOMESTIC, 115, 2)),
        (NEW_YORK, LOS_ANGELES, 51, (TariffZone.DOMESTIC, 135, 3)),
        (DUBLIN, LONDON, 20, (TariffZone.NEAR, 140 + 30 + 5, 3)),
        (DUBLIN, NEW_YORK, 100, (TariffZone.FAR, 160 + 2 * 45 + 2 * 52, 5)),
        (DUBLIN, TOKYO, 2000, (TariffZone.WORLD, 180 + 40 * 60 + 2 * 96, 6)),
    ],
)
def test_the_tariff(
    origin: City, destination: City, weight_g: int, expected: tuple[TariffZone, int, int]
) -> None:
    quoted = price(origin, destination, weight_g)
    assert (quoted.zone, quoted.cents, quoted.delivery_days) == expected


@given(cities, cities, weights)
def test_the_way_back_costs_the_same(a: City, b: City, weight_g: int) -> None:
    assert price(a, b, weight_g) == price(b, a, weight_g)


@given(cities, cities, weights, weights)
def test_heavier_is_never_cheaper(a: City, b: City, one: int, other: int) -> None:
    light, heavy = sorted((one, other))
    assert price(a, b, light).cents <= price(a, b, heavy).cents


@pytest.mark.parametrize("weight_g", [0, -1, MAX_WEIGHT_G + 1])
def test_a_weight_that_no_letter_has_is_refused(weight_g: int) -> None:
    with pytest.raises(ValueError, match=f"weight_g {weight_g} is not between 1 and 2000"):
        price(DUBLIN, CORK, weight_g)


def test_a_country_code_is_its_largest_city() -> None:
    book = CityBook(CITIES)
    assert book.city("IE") is book.city("ie") is book.city("2964574") is DUBLIN
    with pytest.raises(UnknownCityError, match="no city 'ZZ'; use a GeoNames id"):
        book.city("ZZ")


async def test_burning_uses_the_processor_time_it_was_told_to() -> None:
    # A processor that gives this thread a millisecond between two looks at the clock.
    looks = itertools.count()
    await burn(20, processor_time=lambda: next(looks) / 1000)
    used = next(looks)
    assert 20 <= used <= 20 + 20 / SLICE_MS * 2


async def test_burning_lets_others_in_between_slices() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    looks = itertools.count()
    task = asyncio.create_task(other())
    await burn(10 * SLICE_MS, processor_time=lambda: next(looks) / 1000)
    task.cancel()
    assert turns >= 5


async def test_burning_nothing_looks_at_no_clock() -> None:
    def never() -> float:
        raise AssertionError("looked at the clock")

    await burn(0, processor_time=never)


async def test_waiting_sleeps_once_and_for_nothing_not_at_all() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    await wait(250, sleep)
    await wait(0, sleep)
    assert slept == [0.25]


async def test_get_and_post_quote_the_same(client: httpx.AsyncClient) -> None:
    got = await client.get(
        "/quote", params={"from": "IE", "to": "JP", "weight_g": 120, "cpu_ms": 1, "wait_ms": 1}
    )
    posted = await client.post(
        "/quote", json={"from": "IE", "to": "JP", "weight_g": 120, "cpu_ms": 1, "wait_ms": 1}
    )
    assert got.status_code == posted.status_code == 200
    assert got.json() == posted.json()
    quote = got.json()
    assert quote["from"] == {"id": 2964574, "city": "Dublin", "country": "IE"}
    assert quote["to"] == {"id": 1850147, "city": "Tokyo", "country": "JP"}
    assert quote["distance_km"] == pytest.approx(9590, rel=0.01)
    assert (quote["tariff_zone"], quote["price_cents"], quote["currency"]) == ("world", 552, "EUR")
    assert quote["served_by"] == {"region": "eu-west", "zone": "eu", "replica": "abc123", "pid": 4711}


@pytest.mark.parametrize(
    ("query", "kind", "named"),
    [
        ("from=ZZ&to=IE", "unknown-city", "no city 'ZZ'"),
        ("from=IE&to=1", "unknown-city", "no city '1'"),
        ("to=IE", "invalid-request", "query.from"),
        ("from=IE", "invalid-request", "query.to"),
        ("from=IE&to=IE&weight_g=0", "invalid-request", "query.weight_g"),
        ("from=IE&to=IE&weight_g=2001", "invalid-request", "query.weight_g"),
        ("from=IE&to=IE&cpu_ms=10001", "invalid-request", "query.cpu_ms"),
        ("from=IE&to=IE&wait_ms=10001", "invalid-request", "query.wait_ms"),
        ("from=IE&to=IE&fails=1.1", "invalid-request", "query.fails"),
        ("from=IE&to=IE&wait_ms=-1", "invalid-request", "query.wait_ms"),
        ("from=IE&to=IE&wheight_g=20", "invalid-request", "query.wheight_g"),
    ],
)
async def test_errors_are_problem_documents(
    client: httpx.AsyncClient, query: str, kind: str, named: str
) -> None:
    answer = await client.get(f"/quote?{query}", headers={"X-Request-Id": "r-1"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:atoll:problem:{kind}"
    assert problem["request_id"] == "r-1"
    assert named in problem["detail"]


async def test_a_body_that_is_no_json_is_a_problem_without_the_body(client: httpx.AsyncClient) -> None:
    answer = await client.post("/quote", content=b"{secret", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:atoll:problem:invalid-request")
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["/quote/", "/quote/x"])
async def test_nothing_else_is_there_and_nothing_redirects(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, params={"from": "IE", "to": "JP"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_a_share_fails_if_asked_for(client: httpx.AsyncClient) -> None:
    answers = {
        share: await client.get("/quote", params={"from": "IE", "to": "JP", "fails": share})
        for share in (0.0, 0.35, 0.36, 1.0)
    }
    assert [answer.status_code for answer in answers.values()] == [200, 200, 503, 503]
    assert answers[1.0].json()["detail"] == "100% were to fail, as asked for"
