"""The shop in three regions: real stores, agents and links, and each service's replica in each region."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from pydantic import BaseModel
from tests.integration.state_cells import Cells, cells, until
from tests.unit.curl import lines_of
from tests.unit.shop_state import client

from atoll import state
from atoll.clock import SystemClock
from atoll.state.sdk.scope import entered
from atoll_services.cart.api import create_api as create_cart
from atoll_services.catalog.api import create_api as create_catalog
from atoll_services.catalog.catalog import Catalog
from atoll_services.checkout.api import create_api as create_checkout
from atoll_services.checkout.order import Order, Phase
from atoll_services.checkout.payments import Charge, ChargeState
from atoll_services.cities import load_cities
from atoll_services.inventory.api import create_api as create_inventory
from atoll_services.inventory.stock import ReservationState, Stock

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

A, B, C = "eu-west", "eu-central", "us-east"

NAMESPACES = """
[namespaces.carts]
level = "session"
types = ["map"]
[namespaces.stock]
level = "strong"
[namespaces.payments]
level = "strong"
[namespaces.orders]
level = "strong"
[namespaces.prices]
level = "eventual"
[namespaces.descriptions]
level = "eventual"
"""
T = TypeVar("T", bound=BaseModel)
SERVICES = Path(__file__).parents[2] / "services"


@dataclass
class Shop:
    """All replicas, asked without gateways."""

    three: Cells
    cart: dict[str, httpx.AsyncClient]
    inventory: dict[str, httpx.AsyncClient]
    checkout: dict[str, httpx.AsyncClient]
    catalog: dict[str, httpx.AsyncClient]

    async def stock(self, region: str, sku: str, on_hand: int) -> None:
        """As soon as its registers are founded."""

        async def counted() -> bool:
            put = await self.inventory[region].put(f"/inventory/{sku}", json={"on_hand": on_hand})
            return put.is_success

        await until(counted)

    async def left(self, region: str, sku: str) -> Stock:
        return await self.register(region, "stock", Stock, sku)

    async def register(self, region: str, namespace: str, model: type[T], key: str) -> T:
        """Read again as long as no majority answers in time: on a busy machine that takes a while."""
        while True:
            with contextlib.suppress(state.Unavailable), entered(self.three[region].request()):
                found = await state.strong(namespace, model).get(key)
                assert found is not None
                return found.value
            await asyncio.sleep(0.1)

    async def buy(self, region: str, key: str, sku: str, within_s: float = 10.0) -> httpx.Response | None:
        """One try to buy one of an article; None if there was no answer in time."""
        headers = {"Idempotency-Key": key, "Atoll-Deadline-Ms": str(int(within_s * 1000))}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s + 1):
                purchase = {"items": {sku: 1}, "card": "visa"}
                return await self.checkout[region].post("/checkout", json=purchase, headers=headers)
        return None

    async def bought(self, regions: Iterator[str], key: str, sku: str) -> httpx.Response:
        """Sends a purchase, to one region after the other, until it has an outcome."""
        while True:
            answer = await self.buy(next(regions), key, sku)
            if answer is not None and answer.status_code != 503:
                return answer
            await asyncio.sleep(0.1)

    async def charges(self, region: str, orders: set[str]) -> Counter[ChargeState]:
        found = [await self.register(region, "payments", Charge, order) for order in orders]
        return Counter(charge.state for charge in found)

    async def order(self, region: str, name: str) -> Order:
        return await self.register(region, "orders", Order, name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with (
        cells(tmp_path_factory.mktemp("shop"), NAMESPACES) as three,
        contextlib.AsyncExitStack() as stack,
    ):

        async def replicas(api: FastAPI, prefix: str) -> dict[str, httpx.AsyncClient]:
            return {
                region: await stack.enter_async_context(
                    client(api, three[region].access, SystemClock(), prefix)
                )
                for region in (A, B, C)
            }

        yield Shop(
            three,
            await replicas(create_cart(), "/cart"),
            await replicas(create_inventory(), "/inventory"),
            await replicas(create_checkout(250), "/checkout"),
            await replicas(create_catalog(Catalog(load_cities(15000))), "/catalog"),
        )


async def test_the_walk_of_the_readme(shop: Shop) -> None:
    """Without gateways: each port stands for a region. A visitor's price is waited for: it is on its way."""
    ports = {"8080": C, "8081": C, "8082": A, "8083": B}
    await shop.stock(C, "founded", 1)
    cookies: dict[str, str] = {}
    answers: list[Any] = []
    for curl in lines_of(SERVICES / "README.md"):
        service: dict[str, httpx.AsyncClient] = getattr(shop, curl.path.split("/")[1])
        asked = service[ports[curl.port]]
        headers = dict(curl.headers)
        if curl.sends_cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        asked.cookies.clear()

        async def send() -> httpx.Response:
            return await asked.request(curl.method, curl.path, content=curl.content, headers=headers)  # noqa: B023

        answer = await send()
        async with asyncio.timeout(120):
            while (
                answer.status_code == 503
            ):  # its registers are being founded: "send it again with the same key"
                await asyncio.sleep(0.1)
                answer = await send()
        assert answer.is_success, f"{curl.line}: {answer.status_code} {answer.text}"
        if curl.keeps_cookies:
            cookies.update(answer.cookies)
        if curl.path.startswith(("/catalog/postcards", "/inventory")) and curl.method == "PUT":
            await shop.three.settled()
        answers.append(answer.json())
    assert len(answers) == 12
    price, cart, *bought, left = answers[4], answers[7], *answers[8:]
    assert price == {"cents": 320, "currency": "EUR"}
    assert cart == {"items": [{"sku": "2964574", "quantity": 3}]}
    assert len(bought) == 3
    assert all(one == bought[0] for one in bought)
    assert (bought[0]["phase"], bought[0]["cents"]) == ("placed", 3 * 320)
    assert (left["on_hand"], left["available"]) == (17, 17)


async def test_a_cart_edited_on_both_sides_of_a_cut_loses_nothing(shop: Shop) -> None:
    for sku in ("cork", "dublin"):
        await shop.cart[A].put(f"/cart/ours/items/{sku}", json={"quantity": 1})
    await shop.three.settled()
    await shop.three.cut(C)
    try:
        for sku, region in (("paris", A), ("rome", A), ("tokyo", C), ("osaka", C)):
            put = await shop.cart[region].put(f"/cart/ours/items/{sku}", json={"quantity": 2})
            assert put.status_code == 200
        await shop.cart[C].delete("/cart/ours/items/cork")
        await shop.cart[A].put("/cart/ours/items/dublin", json={"quantity": 5})
        await shop.cart[C].put("/cart/ours/items/dublin", json={"quantity": 7})
        sides = [await _items(shop.cart[region]) for region in (A, C)]
        assert sides[0].keys() ^ sides[1].keys() == {"paris", "rome", "tokyo", "osaka", "cork"}
    finally:
        await shop.three.heal()
    await shop.three.settled()
    for region in (A, B, C):
        items = await _items(shop.cart[region])
        assert items == {"dublin": 7, "osaka": 2, "paris": 2, "rome": 2, "tokyo": 2}, region


async def _items(cart: httpx.AsyncClient) -> dict[str, int]:
    found = (await cart.get("/cart/ours")).json()["items"]
    return {item["sku"]: item["quantity"] for item in found}


async def test_sixty_buyers_of_twenty_postcards_in_three_regions_one_of_them_cut_off_buy_twenty(
    shop: Shop,
) -> None:
    await shop.stock(A, "dublin", 20)
    regions = (A, B, C)

    def buys(number: int) -> asyncio.Task[httpx.Response]:
        asked = cycle(regions[number % 3 :] + regions[: number % 3])
        return asyncio.create_task(shop.bought(asked, f"buyer-{number}", "dublin"))

    buyers = [buys(number) for number in range(15)]

    async def some_are_reserved() -> bool:
        return (await shop.left(A, "dublin")).available <= 15

    await until(some_are_reserved)
    await shop.three.cut(C)
    cut_at = (await shop.left(A, "dublin")).available
    buyers += [buys(number) for number in range(15, 60)]

    async def more_are_reserved() -> bool:
        return (await shop.left(A, "dublin")).available < cut_at

    try:
        assert cut_at > 0, "the cut is in the middle"
        await until(more_are_reserved)
    finally:
        await shop.three.heal()
    answers = await asyncio.wait_for(asyncio.gather(*buyers), 180)
    assert Counter(answer.status_code for answer in answers) == {201: 20, 409: 40}
    left = await shop.left(B, "dublin")
    assert (left.on_hand, left.held) == (0, 0)
    placed = {answer.json()["order"] for answer in answers if answer.status_code == 201}
    assert len(placed) == 20
    assert await shop.charges(B, placed) == {ChargeState.CHARGED: 20}
    assert _names(left, ReservationState.SOLD) == placed


async def test_a_purchase_sent_five_times_through_dying_regions_happens_once(shop: Shop) -> None:
    await shop.stock(A, "tokyo", 5)
    three = shop.three
    regions = cycle((A, B, C))
    for turn, dying in enumerate((A, B, C)):
        key = f"turn-{turn}"
        sent = []
        for number in range(5):
            sent.append(asyncio.create_task(shop.buy(next(regions), key, "tokyo")))
            if number == 1:
                await asyncio.sleep(0.05 * (turn + 1))  # both are at work, each in another step
                await three[dying].stop_agent()
        answers = await asyncio.gather(*sent)
        await three[dying].start_agent()
        answers.append(await shop.bought(regions, key, "tokyo"))
        placed = [answer.json()["order"] for answer in answers if answer and answer.status_code == 201]
        assert placed, "the last one at least"
        others = {answer.status_code for answer in answers if answer} - {201}
        assert others <= {503}, "one that met a dead region was told to try again"
        assert len(set(placed)) == 1
        order = await shop.order(B, placed[0])
        assert (order.phase, order.closed) == (Phase.PLACED, True)
        assert await shop.charges(B, {placed[0]}) == {ChargeState.CHARGED: 1}
        left = await shop.left(C, "tokyo")
        assert (left.on_hand, left.held) == (5 - turn - 1, 0)
        assert len(_names(left, ReservationState.SOLD)) == turn + 1


def _names(stock: Stock, wanted: ReservationState) -> set[str]:
    return {name for name, one in stock.reservations.items() if one.state is wanted}
