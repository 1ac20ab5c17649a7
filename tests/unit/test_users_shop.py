"""What users, the keeper and the audit send is what the shop's services take."""

import random
from collections.abc import AsyncIterator

import httpx
import pytest_asyncio
from tests.unit.shop_state import Registers, client, shop_state

from atoll.clock import ManualClock
from atoll.sdk import Region, record_name
from atoll_services.cart.api import create_api as create_cart
from atoll_services.catalog.api import create_api as create_catalog
from atoll_services.catalog.catalog import Catalog
from atoll_services.catalog.listing import Price
from atoll_services.checkout.api import create_api as create_checkout
from atoll_services.cities import load_cities
from atoll_services.inventory.api import create_api as create_inventory
from atoll_services.quote.api import Server
from atoll_services.quote.api import create_api as create_quote
from atoll_services.quote.cities import CityBook
from loadtests.users import goods, journeys, keeper
from loadtests.users.journeys import Outcome, Shop, Visitor

CITIES = load_cities(15000)
SERVICES = frozenset({"catalog", "quote", "cart", "inventory", "checkout"})
SHOP = Shop(SERVICES, frozenset({"checkout"}), CITIES[:2000], wait_ms=1.0)
SALE_STOCK = 3


@pytest_asyncio.fixture
async def services() -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    clock = ManualClock()
    access = shop_state(clock, Registers())
    quote = create_quote(CityBook(CITIES), Server(Region("us-east", "us"), "replica", 1))
    async with (
        client(create_cart(), access, clock, "/cart") as cart,
        client(create_inventory(clock), access, clock, "/inventory") as inventory,
        client(create_checkout(goods.PRICE_CENTS, clock), access, clock, "/checkout") as checkout,
        client(create_catalog(Catalog(CITIES)), access, clock, "/catalog") as catalog,
        client(quote, access, clock, "/quote") as quotes,
    ):
        known = {
            "cart": cart,
            "inventory": inventory,
            "checkout": checkout,
            "catalog": catalog,
            "quote": quotes,
        }
        for chore in keeper.chores(SERVICES, SALE_STOCK):
            if chore.path.startswith("/catalog"):  # this state has no caches, so it keeps no prices
                assert Price.model_validate_json(chore.body).cents == goods.PRICE_CENTS
                continue
            put = await inventory.put(
                chore.path, content=chore.body, headers={"content-type": "application/json"}
            )
            assert put.is_success, put.text
        yield known
    await access.close()


async def visit(
    services: dict[str, httpx.AsyncClient], number: int, *, sale: bool = False
) -> list[httpx.Response]:
    visitor = Visitor(f"u-{number}", CITIES[number], random.Random(number))
    walking, answers = journeys.begin("shop", SHOP, visitor, sale=sale), []
    step = next(walking, None)
    while step is not None:
        headers = {"content-type": "application/json"} if step.body else {}
        if step.key:
            headers["idempotency-key"] = f'"{step.key}"'
        answer = await services[step.service].request(
            step.method, step.path, content=step.body, headers=headers
        )
        answers.append(answer)
        assert answer.is_success or answer.json()["type"].rpartition(":")[2] in step.expected, answer.text
        if step.method == "PUT":
            assert step.write == f"{step.path[1:].replace('/items', '')}={answer.json()['quantity']}"
        try:
            step = walking.send(Outcome(failed=False, content=answer.json()))
        except StopIteration:
            step = None
    return answers


async def test_every_step_of_every_visit_is_understood(services: dict[str, httpx.AsyncClient]) -> None:
    answers = [answer for number in range(60) for answer in await visit(services, number)]
    assert {answer.request.url.path.split("/")[1] for answer in answers} == SERVICES - {"inventory"}
    sold = sum(sum(answer.json()["items"].values()) for answer in answers if answer.status_code == 201)
    left = [
        (await services["inventory"].get(f"/inventory/{sku}")).json()["on_hand"] for sku in goods.ARTICLES
    ]
    assert sold > 10 and sum(goods.ON_HAND - on_hand for on_hand in left) == sold, "as the audit counts"


async def test_an_order_is_found_by_the_key_it_was_bought_with(
    services: dict[str, httpx.AsyncClient],
) -> None:
    bought = [(await visit(services, number, sale=True))[-1].status_code for number in range(5)]
    assert bought == [201, 201, 201, 409, 409], "no more than there are"
    order = record_name("checkout", None, b"u-0")
    found = (await services["checkout"].get(f"/checkout/orders/{order}")).json()
    assert (found["phase"], found["items"]) == ("placed", {goods.SALE: 1})
