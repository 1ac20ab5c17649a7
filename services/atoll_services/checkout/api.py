"""Purchases over HTTP. Paths are relative to the route prefix. Knows nothing of Ray."""

import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

from fastapi import FastAPI, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from atoll import state
from atoll.clock import Clock
from atoll.sdk import AtollMiddleware, parse_key, record_name
from atoll_services.articles import Quantity, Sku
from atoll_services.checkout.order import Order, Phase
from atoll_services.checkout.prices import NotPriced, Prices, Total
from atoll_services.checkout.saga import OtherPurchase, Saga
from atoll_services.checkout.steps import purchase_steps
from atoll_services.inventory.stock import TooManyReservations
from atoll_services.problem import AGAIN, ProblemError, answer_with_problems, problem

MAX_ITEMS = 10


class Purchase(BaseModel):
    """What to buy."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[
        dict[Sku, Quantity], Field(min_length=1, max_length=MAX_ITEMS, description="quantities by article")
    ]
    card: Annotated[str, Field(pattern="^[a-z-]{1,40}$", description="a stand-in's; `declined` is declined")]


class Receipt(BaseModel):
    """An order."""

    order: str
    phase: Phase
    items: Mapping[str, int]
    cents: int
    currency: str


def create_api(price_cents: int | None = None, clock: Clock | None = None) -> FastAPI:
    """The HTTP interface of the checkout. `clock` is the system's unless given.

    `price_cents` is what an article costs that the catalog has no price for; None: it can't be bought.
    """
    # No redirects between /x and /x/: they would be built from a Host header that may not be the client's.
    api = FastAPI(title="Checkout", description="Buys what is in a cart.", redirect_slashes=False)
    answer_with_problems(api)
    api.add_middleware(AtollMiddleware)
    saga, prices = Saga(purchase_steps(clock)), Prices(price_cents)

    # In place of what these mean for a single operation: other steps may have been done.
    @api.exception_handler(state.Unavailable)
    @api.exception_handler(state.Unknown)
    @api.exception_handler(TooManyReservations)
    async def unfinished(request: Request, error: Exception) -> Response:
        detail = (
            "the purchase could not be finished here and now; send it again with the same Idempotency-Key, "
            f"which finishes or undoes it: {error}"
        )
        return problem(request, HTTPStatus.SERVICE_UNAVAILABLE, "purchase-unfinished", detail, AGAIN)

    @api.post("", status_code=HTTPStatus.CREATED)
    async def purchase(
        wanted: Purchase,
        idempotency_key: Annotated[str | None, Header()] = None,
        authorization: Annotated[str | None, Header()] = None,
    ) -> Receipt:
        """Buys, once for each key: however often and wherever it is sent, the first outcome is the answer."""
        name = _name(idempotency_key, authorization)
        try:
            price = await prices.total(wanted.items)
        except NotPriced as error:
            known = await saga.order(name)
            if known is None:
                raise ProblemError(HTTPStatus.CONFLICT, error.kind, f"nothing was bought: {error}") from None
            price = Total(known.cents, known.currency)
        order = Order(
            items=dict(sorted(wanted.items.items())),
            cents=price.cents,
            currency=price.currency,
            fingerprint=_fingerprint(wanted),
        )
        try:
            made = await saga.carry_out(name, order, wanted.card)
        except OtherPurchase:
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "this Idempotency-Key belongs to another purchase; take a new one",
            ) from None
        if made.reason is not None:
            declined = made.reason.kind == "payment-declined"
            status = HTTPStatus.PAYMENT_REQUIRED if declined else HTTPStatus.CONFLICT
            raise ProblemError(status, made.reason.kind, f"nothing was bought: {made.reason.detail}")
        return _receipt(name, made)

    @api.get("/orders/{order}")
    async def order(order: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]) -> Receipt:
        """What became of a purchase."""
        found = await saga.order(order)
        if found is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "unknown-order", f"there is no order {order}")
        return _receipt(order, found)

    return api


def _name(key: str | None, authorization: str | None) -> str:
    """Of a purchase: nobody else can guess it, or learn the key from it."""
    if key is None:
        raise ProblemError(
            HTTPStatus.BAD_REQUEST,
            "idempotency-key-missing",
            "a purchase needs the header Idempotency-Key: a new one for each, and the same one to repeat it",
        )
    try:
        parsed = parse_key(key.encode("latin-1"))
    except ValueError as error:
        raise ProblemError(
            HTTPStatus.BAD_REQUEST, "idempotency-key-invalid", f"Idempotency-Key {error}"
        ) from None
    owner = None if authorization is None else authorization.encode("latin-1")
    return record_name("checkout", owner, parsed)


def _fingerprint(purchase: Purchase) -> str:
    ordered = purchase.model_copy(update={"items": dict(sorted(purchase.items.items()))})
    return hashlib.sha256(ordered.model_dump_json().encode()).hexdigest()


def _receipt(name: str, order: Order) -> Receipt:
    return Receipt(
        order=name, phase=order.phase, items=order.items, cents=order.cents, currency=order.currency
    )
