"""The shop's services over HTTP: what they answer, and which problem they tell."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from tests.unit.curl import lines_of
from tests.unit.shop_state import Registers, client, shop_state

from atoll import state
from atoll.clock import ManualClock
from atoll.state.sdk.access import StateAccess
from atoll.state.sdk.scope import entered
from atoll_services.cart.api import create_api as create_cart
from atoll_services.catalog.listing import Price
from atoll_services.checkout.api import create_api as create_checkout
from atoll_services.inventory import stock
from atoll_services.inventory.api import create_api as create_inventory

SERVICES = Path(__file__).parents[2] / "services"
KEY = {"Idempotency-Key": '"8e03978e-40d5"'}


@dataclass
class Shop:
    clock: ManualClock
    registers: Registers
    access: StateAccess
    cart: httpx.AsyncClient
    inventory: httpx.AsyncClient
    checkout: httpx.AsyncClient

    async def buy(self, key: str = "k", card: str = "visa", **items: int) -> httpx.Response:
        purchase = {"items": items or {"dublin": 1}, "card": card}
        return await self.checkout.post("/checkout", json=purchase, headers={"Idempotency-Key": key})

    async def available(self, sku: str = "dublin") -> tuple[int, int]:
        found = (await self.inventory.get(f"/inventory/{sku}")).json()
        return found["on_hand"], found["available"]


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[Shop]:
    clock, registers = ManualClock(), Registers()
    access = shop_state(clock, registers)
    async with (
        client(create_cart(), access, clock, "/cart") as cart,
        client(create_inventory(clock), access, clock, "/inventory") as inventory,
        client(create_checkout(250, clock), access, clock, "/checkout") as checkout,
    ):
        yield Shop(clock, registers, access, cart, inventory, checkout)
    await access.close()


def kind(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == response.status_code
    assert document["detail"]
    return response.status_code, document["type"].removeprefix("urn:atoll:problem:")


async def test_a_cart_is_edited_item_by_item(shop: Shop) -> None:
    assert (await shop.cart.get("/cart/mine")).json() == {"items": []}
    put = await shop.cart.put("/cart/mine/items/dublin", json={"quantity": 2})
    assert put.json() == {"sku": "dublin", "quantity": 2}
    assert "atoll-session" in put.headers
    await shop.cart.put("/cart/mine/items/cork", json={"quantity": 1})
    await shop.cart.put("/cart/mine/items/dublin", json={"quantity": 3})
    assert (await shop.cart.get("/cart/mine/items/dublin")).json()["quantity"] == 3
    assert (await shop.cart.get("/cart/mine")).json()["items"] == [
        {"sku": "cork", "quantity": 1},
        {"sku": "dublin", "quantity": 3},
    ]
    for _ in range(2):
        assert (await shop.cart.delete("/cart/mine/items/dublin")).status_code == 204
    assert kind(await shop.cart.get("/cart/mine/items/dublin")) == (404, "not-in-cart")
    assert (await shop.cart.get("/cart/other")).json() == {"items": []}


@pytest.mark.parametrize(
    ("path", "edit"),
    [
        ("/cart/mine/items/dublin", {"quantity": 0}),
        ("/cart/mine/items/dublin", {"quantity": 100}),
        ("/cart/mine/items/dublin", {"quantity": 1, "price": 0}),
        ("/cart/mine/items/dublin", {}),
        ("/cart/mine/items/a:b", {"quantity": 1}),
        (f"/cart/mine/items/{'x' * 65}", {"quantity": 1}),
        ("/cart/m%20ine/items/dublin", {"quantity": 1}),
    ],
)
async def test_an_edit_that_makes_no_sense_is_refused(shop: Shop, path: str, edit: dict[str, int]) -> None:
    assert kind(await shop.cart.put(path, json=edit)) == (422, "invalid-request")


async def test_stock_is_counted_reserved_and_released(shop: Shop) -> None:
    assert kind(await shop.inventory.get("/inventory/dublin")) == (404, "unknown-article")
    counted = await shop.inventory.put("/inventory/dublin", json={"on_hand": 5})
    assert counted.json() == {"sku": "dublin", "on_hand": 5, "reserved": 0, "overdue": 0, "available": 5}
    for _ in range(100):  # more often than a register remembers operations
        reserved = await shop.inventory.put("/inventory/dublin/reservations/r1", json={"quantity": 3})
        assert reserved.json() == {"sku": "dublin", "name": "r1", "quantity": 3, "state": "held"}
    assert await shop.available() == (5, 2)
    too_many = await shop.inventory.put("/inventory/dublin/reservations/r2", json={"quantity": 3})
    assert kind(too_many) == (409, "out-of-stock")
    other = await shop.inventory.put("/inventory/dublin/reservations/r1", json={"quantity": 2})
    assert kind(other) == (409, "other-quantity")
    assert kind(await shop.inventory.put("/inventory/dublin", json={"on_hand": 2})) == (409, "reserved")
    assert (await shop.inventory.delete("/inventory/dublin/reservations/r1")).status_code == 204
    assert await shop.available() == (5, 5)
    assert (await shop.inventory.get("/inventory/dublin/reservations/r1")).json()["state"] == "released"
    again = await shop.inventory.put("/inventory/dublin/reservations/r1", json={"quantity": 3})
    assert kind(again) == (409, "already-released")
    assert kind(await shop.inventory.get("/inventory/dublin/reservations/r9")) == (404, "unknown-reservation")


async def test_a_purchase_is_made_once_for_a_key(shop: Shop) -> None:
    await shop.inventory.put("/inventory/dublin", json={"on_hand": 5})
    purchase = {"items": {"dublin": 2}, "card": "visa"}
    first = await shop.checkout.post("/checkout", json=purchase, headers=KEY)
    assert first.status_code == 201
    receipt = first.json()
    assert (receipt["phase"], receipt["cents"], receipt["items"]) == ("placed", 500, {"dublin": 2})
    bare = {"Idempotency-Key": "8e03978e-40d5"}
    for _ in range(4):
        assert (await shop.checkout.post("/checkout", json=purchase, headers=bare)).json() == receipt
    assert await shop.available() == (3, 3)
    assert (await shop.checkout.get(f"/checkout/orders/{receipt['order']}")).json() == receipt
    other = await shop.checkout.post("/checkout", json={**purchase, "card": "amex"}, headers=KEY)
    assert kind(other) == (422, "idempotency-key-reused")
    another = await shop.checkout.post(
        "/checkout", json=purchase, headers={**KEY, "Authorization": "Bearer b"}
    )
    assert another.json()["order"] != receipt["order"], "a key belongs to whoever sends it"
    charges = [key for namespace, key in shop.registers.values if namespace == "payments"]
    assert len(charges) == 2


async def test_a_purchase_that_fails_takes_nothing(shop: Shop) -> None:
    await shop.inventory.put("/inventory/dublin", json={"on_hand": 5})
    for _ in range(2):
        assert kind(await shop.buy("k1", card="declined")) == (402, "payment-declined")
    for _ in range(2):
        missing = await shop.buy("k2", dublin=1, tokyo=1)
        assert kind(missing) == (409, "out-of-stock")
        assert "tokyo: 1 are wanted and 0 are available" in missing.json()["detail"]
    assert await shop.available() == (5, 5)


async def test_a_purchase_costs_what_the_catalog_said_when_it_was_first_sent(shop: Shop) -> None:
    for sku in ("dublin", "tokyo", "cork"):
        await shop.inventory.put(f"/inventory/{sku}", json={"on_hand": 9})

    async def price(sku: str, cents: int, currency: str = "EUR") -> None:
        with entered(shop.access.scope()):
            await state.namespace("prices").register(sku, Price).set(Price(cents=cents, currency=currency))

    await price("dublin", 320)
    await price("tokyo", 0)
    first = await shop.buy("k1", dublin=2, tokyo=1, cork=1)
    assert (first.json()["cents"], first.json()["currency"]) == (2 * 320 + 0 + 250, "EUR"), (
        "cork has no price"
    )
    await price("dublin", 500)
    assert (await shop.buy("k1", dublin=2, tokyo=1, cork=1)).json() == first.json()
    assert (await shop.buy("k2", dublin=2)).json()["cents"] == 1000
    await price("tokyo", 100, "JPY")
    assert kind(await shop.buy("k3", dublin=1, tokyo=1)) == (409, "currencies-differ")
    assert (await shop.buy("k1", dublin=2, tokyo=1, cork=1)).json() == first.json(), "it is bought already"
    assert (await shop.buy("k4", tokyo=1)).json()["currency"] == "JPY"
    async with client(create_checkout(None, shop.clock), shop.access, shop.clock, "/checkout") as strict:
        purchase = {"items": {"cork": 1}, "card": "visa"}
        refused = await strict.post("/checkout", json=purchase, headers={"Idempotency-Key": "k5"})
        assert kind(refused) == (409, "no-price")
        assert "cork has no price" in refused.json()["detail"]
        await price("cork", 10)
        again = await strict.post("/checkout", json=purchase, headers={"Idempotency-Key": "k5"})
        assert again.json()["cents"] == 10, "it was not decided"


async def test_what_is_held_for_too_long_goes_to_who_wants_it(shop: Shop) -> None:
    await shop.inventory.put("/inventory/dublin", json={"on_hand": 2})
    await shop.inventory.put("/inventory/dublin/reservations/r1", json={"quantity": 2})
    assert kind(await shop.buy("k1")) == (409, "out-of-stock")
    shop.clock.advance(stock.HELD_S)
    level = (await shop.inventory.get("/inventory/dublin")).json()
    assert (level["overdue"], level["available"]) == (1, 0), "nobody has wanted it"
    assert (await shop.buy("k2")).status_code == 201
    assert kind(await shop.buy("k1")) == (409, "out-of-stock"), "as it was decided"
    assert (await shop.inventory.get("/inventory/dublin/reservations/r1")).json()["state"] == "released"
    assert await shop.available() == (1, 1)


async def test_a_purchase_that_makes_no_sense_is_refused(shop: Shop) -> None:
    purchase = {"items": {"dublin": 1}, "card": "visa"}
    assert kind(await shop.checkout.post("/checkout", json=purchase)) == (400, "idempotency-key-missing")
    wrong = {"Idempotency-Key": 'a "b'}
    assert kind(await shop.checkout.post("/checkout", json=purchase, headers=wrong)) == (
        400,
        "idempotency-key-invalid",
    )
    for items in ({}, {"dublin": 0}, {"a:b": 1}, {f"sku-{number}": 1 for number in range(11)}):
        refused = await shop.checkout.post("/checkout", json={**purchase, "items": items}, headers=KEY)
        assert kind(refused) == (422, "invalid-request")
    assert kind(await shop.checkout.get(f"/checkout/orders/{'0' * 64}")) == (404, "unknown-order")
    assert not shop.registers.values


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (state.Unavailable("no majority. Nothing was done"), "unavailable"),
        (state.Unknown("no answer"), "outcome-unknown"),
    ],
)
async def test_without_a_majority_services_say_what_that_means(
    shop: Shop, error: Exception, said: str
) -> None:
    await shop.inventory.put("/inventory/dublin", json={"on_hand": 5})
    shop.registers.down = error
    refused = await shop.inventory.put("/inventory/dublin/reservations/r1", json={"quantity": 1})
    assert kind(refused) == (503, said)
    unfinished = await shop.buy()
    assert kind(unfinished) == (503, "purchase-unfinished")
    assert "same Idempotency-Key" in unfinished.json()["detail"]
    assert refused.headers["retry-after"] == unfinished.headers["retry-after"] == "1"
    shop.registers.down = None
    assert (await shop.buy()).status_code == 201
    assert await shop.available() == (4, 4)


async def test_too_many_reservations_leave_a_purchase_to_its_next_try(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.inventory.put("/inventory/dublin", json={"on_hand": 5})
    await shop.inventory.put("/inventory/dublin/reservations/r1", json={"quantity": 5})
    with monkeypatch.context() as full:
        full.setattr(stock, "MAX_RESERVATIONS", 1)
        assert kind(await shop.buy("lost")) == (503, "purchase-unfinished"), "it can't be undone yet"
        await shop.inventory.delete("/inventory/dublin/reservations/r1")
        refused = await shop.inventory.put("/inventory/dublin/reservations/r2", json={"quantity": 1})
        assert kind(refused) == (503, "too-many-reservations")
        assert kind(await shop.buy("pending")) == (503, "purchase-unfinished")
    assert kind(await shop.buy("lost")) == (409, "out-of-stock"), "as it was decided"
    assert (await shop.buy("pending")).status_code == 201


async def test_the_lines_of_the_readmes_work(shop: Shop) -> None:
    """In the order in which they stand there."""
    tried = 0
    for service in ("cart", "inventory", "checkout"):
        asked: httpx.AsyncClient = getattr(shop, service)
        for curl in lines_of(SERVICES / "atoll_services" / service / "README.md"):
            answer = await asked.request(curl.method, curl.path, content=curl.content, headers=curl.headers)
            assert curl.port == "8080"
            assert answer.is_success, f"{curl.line}: {answer.status_code} {answer.text}"
            tried += 1
        if service == "inventory":
            assert await shop.available("2964574") == (20, 20)
    assert tried > 8
    assert await shop.available("2964574") == (18, 18)
