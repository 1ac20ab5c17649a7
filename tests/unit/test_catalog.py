"""The catalog service, without Ray: names, nearest points, and its HTTP interface."""

import string
from collections.abc import AsyncIterator
from random import Random
from typing import Any, cast

import httpx
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from atoll import cache
from atoll.cache import Loaded
from atoll.cache.model import ModelCacheStore
from atoll.clock import SystemClock
from atoll.sdk import Coordinates, great_circle_km
from atoll.state.values import codec_for
from atoll.state.vector import NOTHING, Dot
from atoll_services.catalog import api
from atoll_services.catalog.api import create_api
from atoll_services.catalog.catalog import Catalog
from atoll_services.catalog.listing import Description, Price
from atoll_services.catalog.names import NameIndex, fold
from atoll_services.catalog.nearest import NearestIndex
from atoll_services.cities import load_cities

DUBLIN = 2964574
points = st.builds(Coordinates, latitude=st.floats(-90, 90), longitude=st.floats(-180, 180))


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog(load_cities(15000))


@pytest_asyncio.fixture
async def client(catalog: Catalog) -> AsyncIterator[httpx.AsyncClient]:
    # Mounted as Serve mounts it: the path keeps the route prefix, which is the root path.
    transport = httpx.ASGITransport(create_api(catalog), root_path="/catalog")
    async with httpx.AsyncClient(transport=transport, base_url="http://cell/catalog") as client:
        yield client


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("São Paulo", "sao paulo"),
        ("Tromsø", "tromso"),
        ("Łódź", "lodz"),
        ("STRAẞE", "strasse"),
        ("Xi\u2019an", "xian"),
        ("L'Île-Bizard\u2013Sainte-Geneviève", "lile-bizard-sainte-genevieve"),
        ("  New \t York\n", "new york"),
        ("東京", "東京"),
        ("", ""),
    ],
)
def test_fold(text: str, folded: str) -> None:
    assert fold(text) == folded


@given(st.text())
def test_what_is_folded_stays_as_it_is_and_on_one_line(text: str) -> None:
    assert "\n" not in fold(text)
    assert "\n" not in fold(fold(text))


names = st.lists(st.text(alphabet="abé '", max_size=6), max_size=20)


@given(names, st.text(alphabet="abÁ ", max_size=3))
def test_the_index_finds_what_looking_at_every_name_finds(names: list[str], query: str) -> None:
    q = fold(query)
    beginning = [i for i, name in enumerate(names) if fold(name).startswith(q)]
    containing = [i for i, name in enumerate(names) if q in fold(name) and i not in beginning]
    assert list(NameIndex(names).find(query)) == beginning + containing


def test_an_empty_index_finds_nothing() -> None:
    assert list(NameIndex([]).find("")) == []
    assert list(NameIndex([]).find("a")) == []


@given(st.lists(points, max_size=40), points, st.integers(1, 10))
def test_the_tree_finds_what_measuring_every_point_finds(
    among: list[Coordinates], place: Coordinates, limit: int
) -> None:
    found = NearestIndex(among).find(place, limit)
    assert len(found) == len(set(found)) == min(limit, len(among))
    # Compared by distance and to a metre: which of two points at the same distance comes first is rounding.
    measured = sorted(great_circle_km(place, point) for point in among)[:limit]
    assert [great_circle_km(place, among[i]) for i in found] == pytest.approx(measured, abs=0.001)


def test_nearest_over_the_pole_and_across_the_180th_meridian() -> None:
    among = [Coordinates(89, 170), Coordinates(80, 0), Coordinates(0, -179.9), Coordinates(0, 170)]
    index = NearestIndex(among)
    assert index.find(Coordinates(89, -10), 1) == [0]
    assert index.find(Coordinates(0, 179.9), 2) == [2, 3]


def test_cities_are_all_there_the_most_populous_first() -> None:
    cities = load_cities(15000)
    assert len(cities) > 30_000
    assert len({city.id for city in cities}) == len(cities)
    assert list(cities) == sorted(cities, key=lambda city: (-city.population, city.id))


async def test_search_puts_beginnings_first_and_each_by_population(client: httpx.AsyncClient) -> None:
    answer = await client.get("/search", params={"q": "dub", "limit": 100})
    assert answer.status_code == 200
    found = answer.json()["postcards"]
    begins = [fold(card["city"]).startswith("dub") for card in found]
    assert begins == sorted(begins, reverse=True)
    assert any(begins)
    assert not all(begins)
    populations = [card["population"] for card, first in zip(found, begins, strict=True) if first]
    assert populations == sorted(populations, reverse=True)
    assert "Dublin" in [card["city"] for card in found]


async def test_search_ignores_accents_and_case(client: httpx.AsyncClient) -> None:
    for q in ("São Paulo", "sao paulo", "SAO PAULO"):
        assert (await client.get("/search", params={"q": q})).json()["postcards"][0]["city"] == "São Paulo"


async def test_search_in_one_country(client: httpx.AsyncClient) -> None:
    found = (await client.get("/search", params={"country": "ie", "limit": 3})).json()["postcards"]
    assert [card["country"] for card in found] == ["IE"] * 3
    assert found[0]["id"] == DUBLIN
    assert (await client.get("/search", params={"country": "XX"})).json() == {"postcards": []}


async def test_search_that_finds_nothing_is_an_empty_list(client: httpx.AsyncClient) -> None:
    answer = await client.get("/search", params={"q": "no such city"})
    assert (answer.status_code, answer.json()) == (200, {"postcards": []})


async def test_a_postcard_by_id(client: httpx.AsyncClient) -> None:
    card = (await client.get(f"/postcards/{DUBLIN}")).json()
    assert (card["id"], card["title"], card["country"]) == (DUBLIN, "Greetings from Dublin", "IE")


async def test_nearest_comes_with_distances(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nearest", params={"latitude": 53.3498, "longitude": -6.2603, "limit": 5})
    found = answer.json()["postcards"]
    assert found[0]["id"] == DUBLIN
    assert found[0]["distance_km"] < 5
    assert [card["distance_km"] for card in found] == sorted(card["distance_km"] for card in found)
    assert len(found) == 5


@pytest.mark.parametrize(
    ("path", "status", "kind", "named"),
    [
        ("/postcards/1", 404, "unknown-postcard", "no postcard 1"),
        ("/nothing", 404, "not-found", "Not Found"),
        ("/search/", 404, "not-found", "Not Found"),
        ("/postcards/dublin", 422, "invalid-request", "path.city_id"),
        ("/postcards/0", 422, "invalid-request", "path.city_id"),
        ("/search?limit=0", 422, "invalid-request", "query.limit"),
        ("/search?limit=101", 422, "invalid-request", "query.limit"),
        ("/search?country=IRL", 422, "invalid-request", "query.country"),
        ("/search?q=" + 101 * "x", 422, "invalid-request", "query.q"),
        ("/search?query=dub", 422, "invalid-request", "query.query"),
        ("/nearest", 422, "invalid-request", "query.latitude"),
        ("/nearest?latitude=91&longitude=0", 422, "invalid-request", "query.latitude"),
        ("/nearest?latitude=nan&longitude=0", 422, "invalid-request", "query.latitude"),
    ],
)
async def test_errors_are_problem_documents(
    client: httpx.AsyncClient, path: str, status: int, kind: str, named: str
) -> None:
    answer = await client.get(path, headers={"X-Request-Id": "r-1"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:atoll:problem:{kind}"
    assert problem["status"] == status
    assert problem["request_id"] == "r-1"
    assert named in problem["detail"]


async def test_a_wrong_method_is_a_problem_that_names_the_right_ones(client: httpx.AsyncClient) -> None:
    answer = await client.post("/search")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert answer.json()["type"] == "urn:atoll:problem:method-not-allowed"
    assert "request_id" not in answer.json()


@given(query=st.text(alphabet=string.printable, max_size=20))
def test_no_query_breaks_the_search(catalog: Catalog, query: str) -> None:
    assert len(catalog.search(query, None, 5)) <= 5


@pytest_asyncio.fixture
async def shop(catalog: Catalog) -> AsyncIterator[httpx.AsyncClient]:
    """With a state in memory behind the caches."""

    class Registers:
        def __init__(self, name: str) -> None:
            self.name = name
            self.values: dict[str, bytes | None] = {}

        async def load(self, key: str) -> Loaded:
            return Loaded(self.values.get(key), None, NOTHING)

        async def store(self, key: str, value: bytes | None) -> Dot:
            self.values[key] = value
            return Dot("here.1700000000", len(self.values))

    clock = SystemClock()
    caches = cache.Caches(cache.Tiers(ModelCacheStore(clock), clock, Random(1)))
    patch = pytest.MonkeyPatch()
    for name, codec in (("PRICES", codec_for(Price)), ("DESCRIPTIONS", codec_for(Description))):
        patch.setattr(
            api, name, cache.over(Registers(name.lower()), codec=cast("Any", codec), caches=lambda: caches)
        )
    transport = httpx.ASGITransport(create_api(catalog), root_path="/catalog")
    async with httpx.AsyncClient(transport=transport, base_url="http://cell/catalog") as client:
        yield client
    await caches.close()
    patch.undo()


@pytest.mark.parametrize(
    ("what", "value"), [("price", {"cents": 250, "currency": "EUR"}), ("description", {"text": "The Liffey"})]
)
async def test_prices_and_descriptions_are_set_and_shown(
    shop: httpx.AsyncClient, what: str, value: dict[str, object]
) -> None:
    path = f"/postcards/{DUBLIN}/{what}"
    missing = await shop.get(path)
    assert (missing.status_code, missing.json()["type"]) == (404, f"urn:atoll:problem:no-{what}")
    assert (await shop.put(path, json=value)).json() == value
    assert (await shop.get(path)).json() == value
    assert (await shop.put(path, json={**value, "more": 1})).status_code == 422
    assert (await shop.put(f"/postcards/1/{what}", json=value)).status_code == 404


async def test_without_state_prices_say_so_and_postcards_are_there(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/postcards/{DUBLIN}/price")
    assert answer.status_code == 503
    assert "no state" in answer.json()["detail"]
    assert (await client.get(f"/postcards/{DUBLIN}")).status_code == 200
