"""The audit before a shop that forgets, sells twice, or is honest."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.sdk import record_name
from loadtests.drills.record import Request, Way, Writes
from loadtests.users import goods, keeper
from loadtests.users.audit import AuditFailed, Fate, Write, audit, compare, writes
from loadtests.users.client import Origin

STOCK = {"a": 10, "b": 10}


def request(write: str, status: int | None, key: str = "", error: str = "", ended_s: float = 1.0) -> Request:
    return Request(
        0.0,
        0.0,
        ended_s,
        "PUT /x",
        "x",
        "IE",
        Way.ENTRY,
        status,
        error,
        "",
        1,
        replayable=True,
        key=key,
        write=write,
    )


@pytest.mark.parametrize(
    ("tries", "fate"),
    [
        ([(201, "")], Fate.ACKNOWLEDGED),
        ([(None, "timeout")], Fate.UNKNOWN),
        ([(None, "refused")], Fate.REFUSED),
        ([(503, "purchase-unfinished")], Fate.UNKNOWN),
        ([(503, "refused")], Fate.UNKNOWN),
        ([(409, "")], Fate.REFUSED),
        ([(None, "reset"), (201, "")], Fate.ACKNOWLEDGED),
        ([(201, ""), (503, "overloaded")], Fate.ACKNOWLEDGED),
        ([(None, "refused"), (None, "reset")], Fate.UNKNOWN),
        ([(None, "timeout"), (409, "")], Fate.UNKNOWN),
    ],
)
def test_what_a_user_knows_of_a_write(tries: list[tuple[int | None, str]], fate: Fate) -> None:
    made = [request("order/a=1,b=2", status, "k", error) for status, error in tries]
    assert writes(made) == [Write("", "k", {"a": 1, "b": 2}, fate)]


def test_reads_are_no_writes_and_carts_have_names() -> None:
    made = [request("", 200), request("cart/u-1/a=3", 200)]
    assert writes(made) == [Write("u-1", "", {"a": 3}, Fate.ACKNOWLEDGED)]


PURCHASES = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("ab"), st.integers(1, 3), min_size=1),
        st.sampled_from(Fate),
        st.booleans(),
    ),
    max_size=20,
)


@given(PURCHASES, st.integers(0, 5))
def test_an_honest_shop_is_found_honest_and_every_further_piece_is_found(
    purchases: list[tuple[dict[str, int], Fate, bool]], stolen: int
) -> None:
    """What nobody was told about may have happened or not: either is right."""
    bought = [Write("", f"k{number}", items, fate) for number, (items, fate, _) in enumerate(purchases)]
    sold = {
        sku: sum(
            items.get(sku, 0)
            for items, fate, happened in purchases
            if fate is Fate.ACKNOWLEDGED or (fate is Fate.UNKNOWN and happened)
        )
        for sku in "ab"
    }
    assert compare(bought, [], sold) == (0, 0)
    certain = {
        **sold,
        "a": sum(items.get("a", 0) for items, fate, _ in purchases if fate is not Fate.REFUSED),
    }
    assert compare(bought, [], {**certain, "a": certain["a"] + stolen}) == (0, stolen)


@given(st.integers(1, 5), st.integers(0, 5))
def test_a_purchase_that_took_nothing_is_found_once(quantity: int, found: int) -> None:
    write = Write("", "k", {"a": quantity}, Fate.ACKNOWLEDGED)
    assert compare([write], [], {"a": found}) == (max(0, quantity - found), max(0, found - quantity))
    assert compare([write], [write], {"a": 0}) == (0, 0), (
        "its order is missing too: that is counted elsewhere"
    )


@dataclass
class Shop:
    """What it has, by path; each GET is answered from there."""

    known: dict[str, object] = field(default_factory=dict)
    put: dict[str, object] = field(default_factory=dict)
    failures: int = 0
    lock: Lock = field(default_factory=Lock)

    def carts(self, cart: str, sku: str, quantity: int) -> None:
        self.known[f"/cart/{cart}/items/{sku}"] = {"sku": sku, "quantity": quantity}

    def order(self, key: str, items: dict[str, int], phase: str = "placed") -> None:
        name = record_name("checkout", None, key.encode())
        self.known[f"/checkout/orders/{name}"] = {"order": name, "phase": phase, "items": items}

    def stock(self, sku: str, on_hand: int) -> None:
        self.known[f"/inventory/{sku}"] = {"sku": sku, "on_hand": on_hand}


@contextlib.contextmanager
def serving(shop: Shop) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with shop.lock:
                shop.failures, failing = max(0, shop.failures - 1), shop.failures > 0
            found = shop.known.get(self.path)
            self._say(503 if failing else 200 if found else 404, found or {})

        def do_PUT(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with shop.lock:
                shop.failures, failing = max(0, shop.failures - 1), shop.failures > 0
                if not failing:
                    shop.put[self.path] = content
            self._say(503 if failing else 200, {})

        def _say(self, status: int, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


REQUESTS = [
    request("cart/u-1/a=3", 200),
    request("cart/u-2/b=1", None, error="timeout"),
    request("order/a=2,b=1", 201, "k1"),
    request("order/a=1", None, "k2", "timeout"),
    request("order/b=4", 409, "k3"),
    request("", 200),
]


def honest() -> Shop:
    shop = Shop()
    shop.carts("u-1", "a", 3)
    shop.order("k1", {"a": 2, "b": 1})
    shop.stock("a", 8)
    shop.stock("b", 9)
    return shop


def lost_cart(shop: Shop) -> None:
    del shop.known["/cart/u-1/items/a"]


def older_cart(shop: Shop) -> None:
    shop.carts("u-1", "a", 2)


def lost_order(shop: Shop) -> None:
    shop.order("k1", {"a": 2, "b": 1}, phase="failed")
    shop.stock("a", 10)
    shop.stock("b", 10)


def untaken(shop: Shop) -> None:
    shop.stock("b", 10)


def sold_twice(shop: Shop) -> None:
    shop.stock("a", 5)


@pytest.mark.parametrize(
    ("broken", "lost", "duplicated"),
    [
        (None, 0, 0),
        (lost_cart, 1, 0),
        (older_cart, 1, 0),
        (lost_order, 1, 0),
        (untaken, 1, 0),
        (sold_twice, 0, 2),
    ],
)
def test_what_a_shop_has_is_compared_with_what_it_promised(
    broken: Callable[[Shop], None] | None, lost: int, duplicated: int
) -> None:
    shop = honest()
    if broken is not None:
        broken(shop)
    with serving(shop) as url:
        found = audit(url, REQUESTS, STOCK, settle_s=0.0)
    assert found == Writes(acknowledged=2, unknown=2, lost=lost, duplicated=duplicated)


def test_an_unanswered_purchase_may_have_happened() -> None:
    shop = honest()
    shop.stock("a", 7)
    with serving(shop) as url:
        assert audit(url, REQUESTS, STOCK, settle_s=0.0).duplicated == 0


def test_what_arrives_late_is_waited_for() -> None:
    shop = honest()
    shop.failures = 2
    with serving(shop) as url:
        assert audit(url, REQUESTS, STOCK, settle_s=5.0).lost == 0


def test_a_shop_that_never_counted_can_not_be_audited() -> None:
    shop = honest()
    del shop.known["/inventory/a"]
    with serving(shop) as url, pytest.raises(AuditFailed, match="nobody has counted article a"):
        audit(url, REQUESTS, STOCK, settle_s=0.0)


def test_nothing_written_asks_nothing() -> None:
    assert audit("http://127.0.0.1:9", [request("", 200)], STOCK) == Writes()


def test_the_keeper_writes_prices_and_counts_the_stock() -> None:
    shop = Shop(failures=3)
    services = {"catalog", "cart", "inventory", "checkout"}
    with serving(shop) as url:
        keeper.open_shop(Origin.of(url), services, 7)
    assert shop.put[f"/inventory/{goods.SALE}"] == {"on_hand": 7}
    assert len(shop.put) == 2 * 21


def test_the_keeper_has_nothing_to_do_where_nothing_is_sold(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper.open_shop(Origin("127.0.0.1", 9), {"catalog", "quote"}, 7)
    monkeypatch.setattr(keeper, "TRIES", 1)
    with pytest.raises(keeper.NotStocked, match="PUT /catalog/postcards/1796236/price: refused"):
        keeper.open_shop(Origin("127.0.0.1", 9), {"catalog", "checkout"}, 7)
