"""Carts as replicated state: one map a cart, one field an article.

Edits of different articles never disturb each other, so a cart that is edited in two regions that can't hear each
other loses no item: it has all of them once they can. Of two such edits of the same article the later one stands, a
removal like any other. The quantity is written, not added up: what the buyer saw last is what they get, and a request
that is sent twice changes nothing.
"""

from atoll import state

NAMESPACE = "carts"
KEPT_S = 30 * 24 * 3600.0
"""An item that nobody has touched for so long is gone."""


class Cart:
    """One cart. Its operations ask this region's store alone; what they raise is `atoll.state`'s."""

    def __init__(self, name: str) -> None:
        self._items: state.Map[int] = state.namespace(NAMESPACE).map(name)

    async def items(self) -> dict[str, int]:
        """Quantities by article."""
        return await self._items.items()

    async def quantity(self, sku: str) -> int | None:
        """How many of an article; None if it is not in the cart."""
        return await self._items.get(sku)

    async def put(self, sku: str, quantity: int) -> None:
        await self._items.set(sku, quantity, ttl_s=KEPT_S)

    async def remove(self, sku: str) -> bool:
        """Whether it was there."""
        return await self._items.remove(sku)
