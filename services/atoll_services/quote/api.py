"""Quotes over HTTP. Paths are relative to the route prefix. Knows nothing of Ray."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from random import random
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field

from atoll.sdk import Region
from atoll_services.cities import City
from atoll_services.problem import ProblemError, answer_with_problems
from atoll_services.quote.cities import CityBook, UnknownCityError
from atoll_services.quote.tariff import MAX_WEIGHT_G, TariffZone, price
from atoll_services.quote.work import burn, wait

MAX_LOAD_MS = 10_000


@dataclass(frozen=True, slots=True)
class Server:
    """Who answers: so that tests and people see where a request ended up."""

    region: Region
    replica: str
    pid: int


class QuoteRequest(BaseModel):
    """What to send, and how much load to make on the way."""

    model_config = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True)

    origin: str = Field(alias="from", min_length=1, max_length=12, description="GeoNames id or country code")
    destination: str = Field(
        alias="to", min_length=1, max_length=12, description="GeoNames id or country code"
    )
    weight_g: int = Field(default=20, ge=1, le=MAX_WEIGHT_G)
    cpu_ms: int = Field(default=0, ge=0, le=MAX_LOAD_MS, description="processor time to use")
    wait_ms: int = Field(
        default=0, ge=0, le=MAX_LOAD_MS, description="time to wait, without using the processor"
    )
    fails: float = Field(
        default=0.0, ge=0.0, le=1.0, description="share of requests that end in a 503, each drawn anew"
    )


class End(BaseModel):
    """One end of the way."""

    id: int
    city: str
    country: str


class ServedBy(BaseModel):
    """Who answered: region and residency zone, replica, process."""

    region: str
    zone: str
    replica: str
    pid: int


class Quote(BaseModel):
    """A price."""

    model_config = ConfigDict(serialize_by_alias=True)

    origin: End = Field(alias="from")
    destination: End = Field(alias="to")
    weight_g: int
    distance_km: float
    tariff_zone: TariffZone
    price_cents: int
    currency: str = "EUR"
    delivery_days: int
    served_by: ServedBy


def create_api(cities: CityBook, server: Server, chance: Callable[[], float] = random) -> FastAPI:
    """The HTTP interface of the quote service. `chance` draws from [0, 1)."""
    # No redirects between /x and /x/: they would be built from a Host header that may not be the client's.
    api = FastAPI(title="Quote", description="What a letter costs.", redirect_slashes=False)
    answer_with_problems(api)
    served_by = ServedBy(
        region=server.region.name, zone=server.region.zone, replica=server.replica, pid=server.pid
    )

    async def quote(request: QuoteRequest) -> Quote:
        try:
            origin, destination = cities.city(request.origin), cities.city(request.destination)
        except UnknownCityError as error:
            raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "unknown-city", str(error)) from error
        await burn(request.cpu_ms)
        await wait(request.wait_ms)
        if chance() < request.fails:
            share = f"{request.fails:.0%}"
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE, "failed", f"{share} were to fail, as asked for"
            )
        priced = price(origin, destination, request.weight_g)
        return Quote.model_validate(
            {
                "from": _end(origin),
                "to": _end(destination),
                "weight_g": request.weight_g,
                "distance_km": round(priced.distance_km, 1),
                "tariff_zone": priced.zone,
                "price_cents": priced.cents,
                "delivery_days": priced.delivery_days,
                "served_by": served_by,
            }
        )

    # The empty path is the route prefix itself: /quote.
    @api.get("")
    async def get_quote(request: Annotated[QuoteRequest, Query()]) -> Quote:
        """A quote. Without effect, so it may be asked again at any time."""
        return await quote(request)

    @api.post("")
    async def post_quote(request: QuoteRequest) -> Quote:
        """The same quote. Like any POST it is not sent again once it may have arrived."""
        return await quote(request)

    return api


def _end(city: City) -> End:
    return End(id=city.id, city=city.name, country=city.country)
