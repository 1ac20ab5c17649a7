import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.geo.place import Coordinates
from atoll_services.cities import City
from loadtests.users import goods, journeys
from loadtests.users.journeys import NothingToDo, Outcome, Shop, Step, Visitor

CITIES = (
    City(2964574, "Dublin", "IE", Coordinates(53.33, -6.25), 1_000_000),
    City(3448439, "São Paulo", "BR", Coordinates(-23.5, -46.6), 12_000_000),
)
ALL = frozenset({"catalog", "quote", "cart", "inventory", "checkout"})
FOUND = {"postcards": [{"id": 1}, {"id": 2}, {"id": 3}, {"id": 4}]}


def walk(
    shop: Shop, seed: int, *, journey: str = "shop", sale: bool = False, failing: bool = False
) -> list[Step]:
    visitor = Visitor(f"u-{seed}", CITIES[0], random.Random(seed))
    steps = []
    walking = journeys.begin(journey, shop, visitor, sale=sale)
    step = next(walking, None)
    while step is not None:
        steps.append(step)
        content = FOUND if step.name == "/catalog/search" and not failing else None
        try:
            step = walking.send(Outcome(failed=failing, content=content))
        except StopIteration:
            step = None
    return steps


def shop(services: frozenset[str] = ALL, wait_ms: float = 0.0) -> Shop:
    return Shop(services, frozenset({"checkout"}), CITIES, wait_ms)


@given(st.sets(st.sampled_from(sorted(ALL))), st.integers(0, 1000), st.booleans(), st.booleans())
@settings(max_examples=200)
def test_a_visit_goes_to_deployed_services_alone(
    services: set[str], seed: int, sale: bool, failing: bool
) -> None:
    known = shop(frozenset(services))
    sale = sale and {"checkout", "inventory"} <= services
    for step in walk(known, seed, sale=sale, failing=failing):
        assert step.service in services
        assert step.path.startswith(f"/{step.service}") and step.path.isascii()
        assert step.replayable == (step.method != "POST" or step.service in known.keyed)
        assert bool(step.body) == (step.method in {"PUT", "POST"}) == bool(step.write)
        assert bool(step.key) == (step.service == "checkout")


def test_most_people_look_some_fill_a_cart_and_some_of_them_buy() -> None:
    visits = [walk(shop(), seed) for seed in range(1000)]
    carts, purchases, quotes = (
        sum(any(step.service == service for step in visit) for visit in visits)
        for service in ("cart", "checkout", "quote")
    )
    assert all(visit[0].name == "/catalog/search" and visit[1].service == "catalog" for visit in visits)
    assert 450 < carts < 550 and 250 < purchases < 350 and 550 < quotes < 650


def test_what_is_bought_is_what_is_in_the_cart() -> None:
    for seed in range(200):
        visit = walk(shop(), seed)
        put = {
            step.path.rpartition("/")[2]: json.loads(step.body)["quantity"]
            for step in visit
            if step.method == "PUT"
        }
        assert put.keys() <= set(goods.ARTICLES)
        for step in visit:
            if step.method == "POST":
                assert json.loads(step.body)["items"] == put
                assert step.write == "order/" + ",".join(f"{sku}={number}" for sku, number in put.items())


def test_visitors_look_at_what_they_found_and_at_something_if_they_found_nothing() -> None:
    names = [walk(shop(frozenset({"catalog"})), 3, failing=failing)[1].path for failing in (False, True)]
    assert names[0] == "/catalog/postcards/1"
    assert names[1] in {f"/catalog/postcards/{city.id}" for city in CITIES}


def test_failures_end_no_visit() -> None:
    """A load that goes away when the system fails would measure too little."""
    for seed in range(50):
        good, bad = (
            walk(shop(frozenset({"quote", "cart"})), seed, failing=failing) for failing in (False, True)
        )
        assert good == bad


def test_a_quote_waits_as_long_as_it_is_told_to() -> None:
    (step,) = walk(shop(wait_ms=250.0), 1, journey="quote")
    assert step.path.endswith("&wait_ms=250") and step.path.startswith("/quote?from=2964574&to=")
    (step,) = walk(shop(), 1, journey="quote")
    assert "wait_ms" not in step.path and "fails" not in step.path
    (step,) = walk(replace(shop(), fails=0.25), 1, journey="quote")
    assert step.path.endswith("&fails=0.25")


def test_those_who_come_for_a_sale_all_buy_the_same() -> None:
    visits = [walk(shop(), seed, sale=True) for seed in range(5)]
    assert {visit[-1].write for visit in visits} == {f"order/{goods.SALE}=1"}
    assert len({visit[-1].key for visit in visits}) == 5


def test_who_would_find_nothing_is_told_so_before() -> None:
    with pytest.raises(NothingToDo, match="deployed are inventory"):
        shop(frozenset({"inventory"})).check("shop")
    with pytest.raises(NothingToDo, match="the journey quote needs"):
        shop(frozenset({"catalog"})).check("quote")
    with pytest.raises(NothingToDo, match="needs the services checkout, inventory"):
        shop(frozenset({"catalog"})).check("shop", sale=True)
    shop().check("shop", sale=True)


def test_a_cart_has_what_was_put_into_it() -> None:
    """Read your writes: what was acknowledged is there, wherever it is read."""
    looks = 0
    for seed in range(30):
        visitor = Visitor(f"u-{seed}", CITIES[0], random.Random(seed))
        walking = journeys.begin("shop", shop(frozenset({"cart"})), visitor)
        put: list[dict[str, object]] = []
        step = next(walking, None)
        while step is not None:
            if step.method == "PUT":
                put.append({"sku": step.path.rpartition("/")[2], **json.loads(step.body)})
            elif step.name == "/cart/{cart}":
                looks += 1
                assert step.wrong({"items": put}) == ""
                assert step.wrong({"items": put[1:]}) == "forgotten"
                assert step.wrong({"items": [*put[1:], put[0] | {"quantity": 99}]}) == "forgotten"
                assert step.wrong(None) == "unreadable"
            step = _go_on(walking)
    assert looks > 5


def _go_on(walking: journeys.Journey) -> Step | None:
    try:
        return walking.send(Outcome(failed=False, content=None))
    except StopIteration:
        return None


def test_what_was_refused_need_not_be_there() -> None:
    (look,) = [
        step for step in walk(shop(frozenset({"cart"})), 1, failing=True) if step.name == "/cart/{cart}"
    ]
    assert look.wrong({"items": []}) == ""
