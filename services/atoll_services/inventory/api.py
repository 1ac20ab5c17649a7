"""The inventory over HTTP. Paths are relative to the route prefix. Knows nothing of Ray."""

from http import HTTPStatus
from typing import Annotated

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from atoll.clock import Clock, SystemClock
from atoll.sdk import AtollMiddleware
from atoll_services.articles import Name, Quantity, Sku
from atoll_services.inventory.inventory import Inventory
from atoll_services.inventory.stock import (
    ReservationState,
    Stock,
    StockRefused,
    TooManyReservations,
    UnknownReservation,
)
from atoll_services.problem import AGAIN, ProblemError, answer_with_problems, problem

MAX_ON_HAND = 1_000_000


class Count(BaseModel):
    """What was counted in the warehouse."""

    model_config = ConfigDict(extra="forbid")

    on_hand: Annotated[int, Field(ge=0, le=MAX_ON_HAND, description="reserved ones included")]


class Level(BaseModel):
    """The stock of an article."""

    sku: str
    on_hand: int
    reserved: int
    overdue: int = Field(
        description="reservations held for so long that a purchase that needs them ends them"
    )
    available: int


class Wanted(BaseModel):
    """What to reserve."""

    model_config = ConfigDict(extra="forbid")

    quantity: Quantity


class Reserved(BaseModel):
    """A reservation."""

    sku: str
    name: str
    quantity: int
    state: ReservationState


def create_api(clock: Clock | None = None) -> FastAPI:
    """The HTTP interface of the inventory. `clock` is the system's unless given."""
    # No redirects between /x and /x/: they would be built from a Host header that may not be the client's.
    api = FastAPI(title="Inventory", description="How many there are.", redirect_slashes=False)
    answer_with_problems(api)
    api.add_middleware(AtollMiddleware)
    clock = clock or SystemClock()
    inventory = Inventory(clock)

    @api.exception_handler(StockRefused)
    async def refused(request: Request, error: StockRefused) -> Response:
        if isinstance(error, TooManyReservations):
            return problem(request, HTTPStatus.SERVICE_UNAVAILABLE, error.kind, str(error), AGAIN)
        status = HTTPStatus.NOT_FOUND if isinstance(error, UnknownReservation) else HTTPStatus.CONFLICT
        return problem(request, status, error.kind, str(error))

    @api.get("/{sku}")
    async def stock(sku: Sku) -> Level:
        """How many there are."""
        found = await inventory.stock(sku)
        if found is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "unknown-article", f"nobody has counted {sku} yet")
        return _level(sku, found, clock.wall())

    @api.put("/{sku}")
    async def count(sku: Sku, count: Count) -> Level:
        """Says how many there are in the warehouse."""
        return _level(sku, await inventory.count(sku, count.on_hand), clock.wall())

    # PUT, as its name is the client's: it may be sent again at any time, and gateways do so by themselves.
    @api.put("/{sku}/reservations/{name}")
    async def reserve(sku: Sku, name: Name, wanted: Wanted) -> Reserved:
        """Reserves some under a name, once, however often it is asked for."""
        return _reserved(sku, name, await inventory.reserve(sku, name, wanted.quantity))

    @api.get("/{sku}/reservations/{name}")
    async def reservation(sku: Sku, name: Name) -> Reserved:
        """What became of a reservation."""
        return _reserved(sku, name, await inventory.stock(sku) or Stock())

    @api.delete("/{sku}/reservations/{name}", status_code=HTTPStatus.NO_CONTENT)
    async def release(sku: Sku, name: Name) -> Response:
        """Gives back what is reserved. The name can't be used again soon, even if it never was."""
        await inventory.release(sku, name)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return api


def _level(sku: str, stock: Stock, now: float) -> Level:
    return Level(
        sku=sku,
        on_hand=stock.on_hand,
        reserved=stock.held,
        overdue=len(stock.overdue(now)),
        available=stock.available,
    )


def _reserved(sku: str, name: str, stock: Stock) -> Reserved:
    found = stock.reservations.get(name)
    if found is None:
        raise UnknownReservation(f"there is no reservation {name} of {sku}, or it was settled long ago")
    return Reserved(sku=sku, name=name, quantity=found.quantity, state=found.state)
