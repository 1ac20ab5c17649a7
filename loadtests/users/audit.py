"""What became of the writes: every one that was acknowledged is looked for again when the load is over.

- What was put into a cart must be in it. A cart belongs to one visitor, who puts an article in once.
- An order whose purchase was acknowledged must be placed.
- Of each article, as many must be gone from stock as were bought for certain, and at most as many more as may have
  been. So purchases that happened twice show, and those that were acknowledged and took nothing.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from atoll.sdk import record_name
from loadtests.drills.record import Request, Writes
from loadtests.users.client import Connection, NoAnswer, Origin

SETTLE_S = 10.0
"""For so long something that is missing is looked for: replication and restarts take their time."""
AGAIN_S = 0.5
PATIENCE_S = 10.0
AT_ONCE = 4


class AuditFailed(Exception):
    """A service does not say what it has, so nothing can be said about the writes. Says which, and what to do."""


class Fate(Enum):
    """What a user knows of a write."""

    ACKNOWLEDGED = auto()
    REFUSED = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Write:
    """What one user wrote once, in one or more tries."""

    cart: str
    """Empty for a purchase."""
    key: str
    """Its Idempotency-Key; empty for what went into a cart."""
    items: Mapping[str, int]
    """Quantities by article."""
    fate: Fate


def writes(requests: Iterable[Request]) -> list[Write]:
    """What was written by these requests, in any order, as far as the users know."""
    fates: dict[tuple[str, str], Fate] = {}
    for request in requests:
        if request.write:
            name = (request.write, request.key)
            fates[name] = _together(fates.get(name), _fate(request))
    return [_write(write, key, fate) for (write, key), fate in fates.items()]


def _write(text: str, key: str, fate: Fate) -> Write:
    """Understands `Request.write`."""
    where, _, items = text.rpartition("/")
    pairs = (each.partition("=") for each in items.split(","))
    cart = where.removeprefix("cart/") if where.startswith("cart/") else ""
    return Write(cart, key, {sku: int(quantity) for sku, _, quantity in pairs}, fate)


def _fate(request: Request) -> Fate:
    if request.status is None and request.error in {"refused", "unsteered"}:
        return Fate.REFUSED  # it never left
    if request.status is None or request.status >= 500:
        return Fate.UNKNOWN
    return Fate.ACKNOWLEDGED if request.status < 400 else Fate.REFUSED


def _together(before: Fate | None, now: Fate) -> Fate:
    """Of two tries of one write."""
    fates = {before or now, now}
    if Fate.ACKNOWLEDGED in fates:
        return Fate.ACKNOWLEDGED
    return Fate.UNKNOWN if Fate.UNKNOWN in fates else Fate.REFUSED


def audit(
    entry: str, requests: Iterable[Request], stock: Mapping[str, int], settle_s: float = SETTLE_S
) -> Writes:
    """Asks the services at `entry` what they have, and compares. Nobody else may buy meanwhile.

    `stock` is what there was of each article when the load began (`loadtests.users.goods.stock`). Waits up to
    `settle_s` for what is missing. Raises `AuditFailed`.
    """
    made = writes(requests)
    origin = Origin.of(entry)
    done = [write for write in made if write.fate is Fate.ACKNOWLEDGED]
    lost = _missing(done, lambda write: _is_there(origin, write), settle_s)
    bought = [write for write in made if write.key]
    sold = {
        sku: stock[sku] - _on_hand(origin, sku)
        for sku in sorted({sku for each in bought for sku in each.items})
    }
    taken_from_nobody, duplicated = compare(bought, [write for write in lost if write.key], sold)
    return Writes(
        acknowledged=len(done),
        unknown=sum(write.fate is Fate.UNKNOWN for write in made),
        lost=len(lost) + taken_from_nobody,
        duplicated=duplicated,
    )


def compare(bought: Iterable[Write], lost: Iterable[Write], sold: Mapping[str, int]) -> tuple[int, int]:
    """Purchases against what is gone from stock, article by article.

    Returns how many pieces were acknowledged but are still in stock, those of `lost` purchases not counted again, and
    how many are gone that nobody can have bought.
    """
    pieces: dict[Fate, Counter[str]] = defaultdict(Counter)
    for write in bought:
        pieces[write.fate].update(write.items)
    missing: Counter[str] = Counter()
    for write in lost:
        missing.update(write.items)
    certain, possible = pieces[Fate.ACKNOWLEDGED], pieces[Fate.UNKNOWN]
    return (
        sum(max(0, certain[sku] - missing[sku] - gone) for sku, gone in sold.items()),
        sum(max(0, gone - certain[sku] - possible[sku]) for sku, gone in sold.items()),
    )


def _missing(made: list[Write], is_there: Callable[[Write], bool], settle_s: float) -> list[Write]:
    """What is not there, not even after a while."""
    end_s = time.monotonic() + settle_s
    with ThreadPoolExecutor(AT_ONCE) as workers:
        while True:
            found = list(workers.map(is_there, made))
            made = [write for write, there in zip(made, found, strict=True) if not there]
            if not made or time.monotonic() >= end_s:
                return made
            time.sleep(AGAIN_S)


def _is_there(origin: Origin, write: Write) -> bool:
    if write.key:
        order = record_name("checkout", None, write.key.encode())
        match _ask(origin, f"/checkout/orders/{order}"):
            case {"phase": "placed", "items": items}:
                return bool(items == write.items)
        return False
    for sku, quantity in write.items.items():
        match _ask(origin, f"/cart/{write.cart}/items/{sku}"):
            case {"quantity": int(found)} if found == quantity:
                continue
        return False
    return True


def _on_hand(origin: Origin, sku: str) -> int:
    match _ask(origin, f"/inventory/{sku}"):
        case {"on_hand": int(on_hand)}:
            return on_hand
    raise AuditFailed(
        f"nobody has counted article {sku}: let the users' process open the shop before the load"
    )


def _ask(origin: Origin, path: str) -> Any:
    """The answer's JSON; None for what there isn't. Asks again what fails. Raises `AuditFailed`."""
    head = f"GET {path} HTTP/1.1\r\nhost: {origin.authority}\r\n\r\n".encode()
    end_s = time.monotonic() + SETTLE_S
    while True:
        connection = Connection(origin)
        try:
            response = connection.ask(head, PATIENCE_S)
            problem = str(response.status)
            if response.status in {200, 404}:
                return response.json() if response.status == 200 else None
        except NoAnswer as failure:
            problem = failure.word
        finally:
            connection.close()
        if time.monotonic() >= end_s:
            raise AuditFailed(
                f"GET {path} at {origin.authority}: {problem}. Heal the run, then hold the drill again"
            )
        time.sleep(AGAIN_S)
