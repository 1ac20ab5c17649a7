"""What a purchase costs: the catalog's prices, as they are known in the region that it is first sent to."""

from collections.abc import Mapping
from dataclasses import dataclass

from atoll_services.catalog.listing import Price, price_now


class NotPriced(Exception):
    """It can't be said what it costs; `kind` is for programs, the text for people."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Total:
    cents: int
    currency: str


class Prices:
    """Of articles, whose names are the postcards' ids."""

    def __init__(self, flat_cents: int | None) -> None:
        """`flat_cents` is what an article costs that the catalog has no price for; None: it isn't sold."""
        self._flat = None if flat_cents is None else Price(cents=flat_cents)

    async def total(self, items: Mapping[str, int]) -> Total:
        """What they cost together. Raises `NotPriced`, `state.StateError`."""
        cents, currencies = 0, set()
        for sku, quantity in items.items():
            price = await price_now(sku) or self._flat
            if price is None:
                raise NotPriced("no-price", f"{sku} has no price; it can be bought once the catalog has one")
            cents += quantity * price.cents
            currencies.add(price.currency)
        if len(currencies) > 1:
            told = " and ".join(sorted(currencies))
            raise NotPriced("currencies-differ", f"these cost {told}; buy those of one currency at once")
        return Total(cents, currencies.pop())
