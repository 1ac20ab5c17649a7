"""What changes about a postcard: its price and its description. Replicated to every region, read through its cache."""

from typing import ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field

from atoll import cache, state


class Price(BaseModel):
    """What a postcard costs, without postage."""

    model_config = ConfigDict(extra="forbid")
    schema_version: ClassVar[int] = 1

    cents: int = Field(ge=0, le=1_000_000)
    currency: str = Field(default="EUR", pattern="^[A-Z]{3}$", description="ISO 4217 code")


class Description(BaseModel):
    """What is said of a postcard."""

    model_config = ConfigDict(extra="forbid")
    schema_version: ClassVar[int] = 1

    text: str = Field(min_length=1, max_length=2000)


PRICES: Final = cache.over(state.namespace("prices"), cache.write_through(ttl_s=300), model=Price)
DESCRIPTIONS: Final = cache.over(state.namespace("descriptions"), cache.aside(ttl_s=300), model=Description)


async def price_now(postcard: str) -> Price | None:
    """The price as this region's state has it, past the cache: for who charges it. Raises `state.StateError`."""
    return await state.namespace("prices").register(postcard, Price).get()
