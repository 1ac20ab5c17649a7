"""The stock of all articles in strong registers: one truth for all regions, so nothing is sold twice.

This is the only module that knows how the namespace is laid out. The checkout uses it too, in its own process.
"""

from collections.abc import Callable

from atoll import state
from atoll.clock import Clock, SystemClock
from atoll_services.inventory.stock import Stock

NAMESPACE = "stock"


class Inventory:
    """Everything raises `StockRefused`, `state.Unavailable` (nothing was done) or `state.Unknown` (repeat it).

    All changes may be repeated at any time.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._stock = state.strong(NAMESPACE, Stock)
        self._clock = clock or SystemClock()

    async def stock(self, sku: str) -> Stock | None:
        """None for an article that nobody has ever counted."""
        found = await self._stock.get(sku)
        return None if found is None else found.value

    async def count(self, sku: str, on_hand: int) -> Stock:
        """Says how many there are in the warehouse, reserved ones included."""
        return await self._change(sku, lambda stock: stock.counted(on_hand))

    async def reserve(self, sku: str, name: str, quantity: int) -> Stock:
        """Holds `quantity` of an article under a name, once."""
        return await self._change(sku, lambda stock: stock.reserve(name, quantity, self._clock.wall()))

    async def sell(self, sku: str, name: str) -> Stock:
        """Takes what is held under a name out of the warehouse."""
        return await self._change(sku, lambda stock: stock.sell(name, self._clock.wall()))

    async def release(self, sku: str, name: str) -> Stock:
        """Gives what is held under a name back, and makes sure that no attempt of now holds it later."""
        return await self._change(sku, lambda stock: stock.release(name, self._clock.wall()))

    async def lapse(self, sku: str, name: str) -> Stock:
        """As `release`, but what is sold stays so."""
        return await self._change(sku, lambda stock: stock.lapse(name, self._clock.wall()))

    async def _change(self, sku: str, change: Callable[[Stock], Stock]) -> Stock:
        changed = await self._stock.update(sku, lambda stock: change(stock or Stock()))
        return changed.value
