"""Purchases that nobody went on with: they are ended by the next one that wants what they hold.

A reservation can't lapse by itself: the purchase it is held for may have been placed, by an attempt that died before it
sold. So the purchase is ended, not the reservation: its order is decided, as failed unless that was done before, and
then carried through, with a refund if it was paid. An attempt that wakes up later learns what was decided.
"""

from collections.abc import Iterable
from typing import Final

from atoll_services.checkout.order import Reason
from atoll_services.checkout.saga import Saga
from atoll_services.inventory.inventory import Inventory

REASON: Final = Reason(
    kind="abandoned",
    detail="nobody went on with this purchase for ten minutes, so it was undone; buy again with a new key",
)


class Abandoned:
    """Ends them. May be done by several at once, and again."""

    def __init__(self, inventory: Inventory, saga: Saga) -> None:
        """`saga` carries through what is decided of them."""
        self._inventory = inventory
        self._saga = saga

    async def end(self, sku: str, names: Iterable[str]) -> None:
        """Ends what has held some of an article for too long. Raises `state.Unavailable` and `state.Unknown`."""
        for name in names:
            if not await self._saga.abandon(name, REASON):  # a reservation that belongs to no purchase
                await self._inventory.lapse(sku, name)
