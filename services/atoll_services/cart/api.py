"""Carts over HTTP. Paths are relative to the route prefix. Knows nothing of Ray."""

from http import HTTPStatus

from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict

from atoll.sdk import AtollMiddleware
from atoll_services.articles import Name, Quantity, Sku
from atoll_services.cart.cart import Cart
from atoll_services.problem import ProblemError, answer_with_problems


class Edit(BaseModel):
    """How many of an article there are to be."""

    model_config = ConfigDict(extra="forbid")

    quantity: Quantity


class Item(BaseModel):
    """An article in a cart."""

    sku: str
    quantity: int


class Contents(BaseModel):
    """A cart, by article."""

    items: list[Item]


def create_api() -> FastAPI:
    """The HTTP interface of carts. A cart that nobody has written to is empty."""
    # No redirects between /x and /x/: they would be built from a Host header that may not be the client's.
    api = FastAPI(title="Cart", description="What somebody is about to buy.", redirect_slashes=False)
    answer_with_problems(api)
    api.add_middleware(AtollMiddleware)

    @api.get("/{cart}")
    async def contents(cart: Name) -> Contents:
        """All items."""
        found = await Cart(cart).items()
        return Contents(items=[Item(sku=sku, quantity=quantity) for sku, quantity in found.items()])

    @api.get("/{cart}/items/{sku}")
    async def item(cart: Name, sku: Sku) -> Item:
        """One item."""
        quantity = await Cart(cart).quantity(sku)
        if quantity is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "not-in-cart", f"{sku} is not in this cart")
        return Item(sku=sku, quantity=quantity)

    @api.put("/{cart}/items/{sku}")
    async def put(cart: Name, sku: Sku, edit: Edit) -> Item:
        """Puts an article in, or changes how many of it there are."""
        await Cart(cart).put(sku, edit.quantity)
        return Item(sku=sku, quantity=edit.quantity)

    @api.delete("/{cart}/items/{sku}", status_code=HTTPStatus.NO_CONTENT)
    async def remove(cart: Name, sku: Sku) -> Response:
        """Takes an article out; one that isn't there is no error."""
        await Cart(cart).remove(sku)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return api
