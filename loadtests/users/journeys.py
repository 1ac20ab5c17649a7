"""What visitors do, one request after the other. Knows neither time nor network: each journey yields what it asks for
and is sent what came of it.

Steps whose service is not deployed are left out. What fails does not end a visit: people try something else, and a load
that went away when the system fails would measure too little.
"""

import json
import random
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote as escape

from atoll_services.cities import City
from loadtests.users import goods

JOURNEYS = ("shop", "quote")

LOOKS = 3
"""Postcards that a visitor looks at, at most."""
ASKS_FOR_A_QUOTE, FILLS_A_CART, BUYS = 0.6, 0.5, 0.6
"""How many go on; those who buy are a share of those with a cart. Round figures: more buy here than in a real shop, so
that a short drill sees enough purchases."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request."""

    method: str
    path: str
    name: str
    """The path without what differs from visit to visit."""
    service: str
    body: bytes = b""
    """JSON."""
    key: str = ""
    replayable: bool = True
    criticality: str = "default"
    write: str = ""
    """What it changes, as in `loadtests.drills.record.Request`."""
    expected: frozenset[str] = frozenset()
    """Problems that are an answer like any other."""
    wrong: Callable[[Any], str] = field(default=lambda _: "", compare=False)
    """A word for what is wrong with the JSON of an answer that succeeded; empty if nothing is."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step."""

    failed: bool
    content: Any
    """The answer's JSON; None if there is none."""


Journey = Generator[Step, Outcome, None]


class NothingToDo(ValueError):
    """A journey's services are not deployed; says which."""


@dataclass(frozen=True, slots=True)
class Shop:
    """What journeys know of the shop."""

    services: frozenset[str]
    """Those that are deployed."""
    keyed: frozenset[str]
    """Those that take care of idempotency keys themselves."""
    cities: Sequence[City]
    """Whose postcards are searched for, the most wanted first."""
    wait_ms: float = 0.0
    fails: float = 0.0
    """The share of attempts at quotes that replicas fail."""

    @property
    def quotes(self) -> str | None:
        """The service that is asked for quotes: ``quote``, or else one like it (``quote-eu``)."""
        like = sorted(name for name in self.services if name == "quote" or name.startswith("quote-"))
        return like[0] if like else None

    def check(self, journey: str, *, sale: bool = False) -> None:
        """Raises `NothingToDo` if a visitor would find nothing."""
        wanted = {"quote"} if journey == "quote" else {"catalog", "quote", "cart", "checkout"}
        if self.quotes is None and not self.services & wanted:
            raise NothingToDo(
                f"the journey {journey} needs one of the services {', '.join(sorted(wanted))}; deployed are "
                f"{', '.join(sorted(self.services)) or 'none'}"
            )
        if missing := {"checkout", "inventory"} - self.services if sale else set():
            raise NothingToDo(
                f"a flash sale needs the services {', '.join(sorted(missing))}: run infra/topologies/shop.toml"
            )


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who visits. `name` is unlike every other visitor's."""

    name: str
    city: City
    rng: random.Random


def begin(journey: str, shop: Shop, visitor: Visitor, *, sale: bool = False) -> Journey:
    """What a visitor will do."""
    if sale:
        return _flash_sale(shop, visitor)
    return _quote_alone(shop, visitor) if journey == "quote" else _shop(shop, visitor)


def _shop(shop: Shop, visitor: Visitor) -> Journey:
    rng = visitor.rng
    if "catalog" in shop.services:
        found = yield from _search(shop, rng)
        for postcard in found[: rng.randint(1, LOOKS)]:
            yield Step("GET", f"/catalog/postcards/{postcard}", "/catalog/postcards/{id}", "catalog")
    if shop.quotes is not None and rng.random() < ASKS_FOR_A_QUOTE:
        yield _quote(shop.quotes, shop, visitor)
    wanted = {rng.choice(goods.ARTICLES): rng.randint(1, 3) for _ in range(rng.randint(1, 2))}
    fills = rng.random() < FILLS_A_CART
    if "cart" in shop.services and fills:
        put: dict[str, int] = {}
        for sku, quantity in wanted.items():
            outcome = yield _put_into_cart(visitor, sku, quantity)
            if not outcome.failed:
                put[sku] = quantity
        yield Step("GET", f"/cart/{visitor.name}", "/cart/{cart}", "cart", wrong=partial(_forgotten, put))
    if "checkout" in shop.services and fills and rng.random() < BUYS:
        yield _buy(shop, visitor, wanted)


def _flash_sale(shop: Shop, visitor: Visitor) -> Journey:
    if "catalog" in shop.services:
        yield Step("GET", f"/catalog/postcards/{goods.SALE}", "/catalog/postcards/{id}", "catalog")
    yield _buy(shop, visitor, {goods.SALE: 1})


def _quote_alone(shop: Shop, visitor: Visitor) -> Journey:
    assert shop.quotes is not None, "`check` came first"
    yield _quote(shop.quotes, shop, visitor)


def _search(shop: Shop, rng: random.Random) -> Generator[Step, Outcome, list[str]]:
    city = rng.choice(shop.cities)
    outcome = yield Step("GET", f"/catalog/search?q={escape(city.name[:3])}", "/catalog/search", "catalog")
    match outcome.content:
        case {"postcards": [_, *_] as postcards} if not outcome.failed:
            return [str(postcard["id"]) for postcard in postcards]
    return [str(city.id)]


def _quote(service: str, shop: Shop, visitor: Visitor) -> Step:
    to = visitor.rng.choice(shop.cities).id
    wait = f"&wait_ms={shop.wait_ms:.0f}" if shop.wait_ms else ""
    fails = f"&fails={shop.fails:g}" if shop.fails else ""
    path = (
        f"/{service}?from={visitor.city.id}&to={to}&weight_g={visitor.rng.randint(1, 40) * 50}{wait}{fails}"
    )
    return Step("GET", path, f"/{service}", service)


def _put_into_cart(visitor: Visitor, sku: str, quantity: int) -> Step:
    return Step(
        "PUT",
        f"/cart/{visitor.name}/items/{sku}",
        "/cart/{cart}/items/{sku}",
        "cart",
        body=json.dumps({"quantity": quantity}).encode(),
        write=f"cart/{visitor.name}/{sku}={quantity}",
    )


def _forgotten(put: Mapping[str, int], content: Any) -> str:
    """A session sees what was written in it: read your writes, wherever it reads."""
    match content:
        case {"items": [*items]}:
            there = {item["sku"]: item["quantity"] for item in items}
            return "" if put.items() <= there.items() else "forgotten"
    return "unreadable"


def _buy(shop: Shop, visitor: Visitor, items: dict[str, int]) -> Step:
    bought = ",".join(f"{sku}={quantity}" for sku, quantity in items.items())
    return Step(
        "POST",
        "/checkout",
        "/checkout",
        "checkout",
        body=json.dumps({"items": items, "card": "visa"}).encode(),
        key=visitor.name,
        replayable="checkout" in shop.keyed,
        criticality="critical",
        write=f"order/{bought}",
        expected=frozenset({"out-of-stock"}),
    )
