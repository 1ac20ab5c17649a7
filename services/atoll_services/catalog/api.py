"""The catalog over HTTP. Paths are relative to the route prefix. Knows nothing of Ray."""

from http import HTTPStatus
from typing import Annotated

from fastapi import FastAPI, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from atoll.sdk import AtollMiddleware, Coordinates, call
from atoll_services.catalog.catalog import Catalog
from atoll_services.catalog.listing import DESCRIPTIONS, PRICES, Description, Price
from atoll_services.cities import City
from atoll_services.problem import ProblemError, answer_with_problems


class Postcard(BaseModel):
    """A postcard of a city."""

    id: int = Field(description="GeoNames id of the city")
    title: str
    city: str
    country: str = Field(description="ISO 3166-1 alpha-2 code")
    latitude: float
    longitude: float
    population: int


class NearPostcard(Postcard):
    """A postcard, and how far its city is from the place that was asked for."""

    distance_km: float


class Offer(BaseModel):
    """A postcard, and what it costs to have it sent from its city."""

    postcard: Postcard
    price_cents: int
    currency: str
    delivery_days: int
    quoted_by: str = Field(description="region whose quote service said so")


class Postcards(BaseModel):
    """What a search found, best first."""

    postcards: list[Postcard]


class NearPostcards(BaseModel):
    """What is near a place, nearest first."""

    postcards: list[NearPostcard]


class SearchQuery(BaseModel):
    """What to search for."""

    model_config = ConfigDict(extra="forbid")

    q: str = Field(default="", max_length=100, description="the name's beginning, or a part of it")
    country: str | None = Field(default=None, pattern="^[A-Za-z]{2}$", description="ISO 3166-1 alpha-2 code")
    limit: int = Field(default=10, ge=1, le=100)


class NearestQuery(BaseModel):
    """Where to look, in degrees."""

    model_config = ConfigDict(extra="forbid")

    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    limit: int = Field(default=10, ge=1, le=100)


def create_api(catalog: Catalog) -> FastAPI:
    """The HTTP interface of `catalog`."""
    # No redirects between /x and /x/: they would be built from a Host header that may not be the client's.
    api = FastAPI(title="Catalog", description="Postcards, one for each city.", redirect_slashes=False)
    answer_with_problems(api)
    api.add_middleware(AtollMiddleware)

    @api.get("/search")
    async def search(query: Annotated[SearchQuery, Query()]) -> Postcards:
        """Postcards by the name of the city; case and accents don't matter.

        First names that begin with `q`, then names that contain it, each by population.
        """
        found = catalog.search(query.q, query.country, query.limit)
        return Postcards(postcards=[_postcard(city) for city in found])

    @api.get("/postcards/{city_id}")
    async def postcard(city_id: Annotated[int, Path(ge=1)]) -> Postcard:
        """One postcard."""
        city = catalog.postcard(city_id)
        if city is None:
            raise _unknown(city_id)
        return _postcard(city)

    @api.get("/postcards/{city_id}/offer")
    async def offer(
        city_id: Annotated[int, Path(ge=1)],
        to: Annotated[str, Query(min_length=1, max_length=12, description="GeoNames id or country code")],
    ) -> Offer:
        """One postcard with its postage, which the quote service is asked for."""
        city = catalog.postcard(city_id)
        if city is None:
            raise _unknown(city_id)
        answer = await call("quote", params={"from": city_id, "to": to})
        if answer.is_client_error:
            told = answer.json()
            if told["type"].endswith(":no-such-service"):
                raise ProblemError(
                    HTTPStatus.NOT_FOUND, "no-quote", "the service quote, which knows, is not run here"
                )
            raise ProblemError(HTTPStatus(answer.status_code), "no-quote", str(told["detail"]))
        if not answer.is_success:
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE, "no-quote", f"quote answered {answer.status_code}; try again"
            )
        quote = answer.json()
        return Offer(
            postcard=_postcard(city),
            price_cents=quote["price_cents"],
            currency=quote["currency"],
            delivery_days=quote["delivery_days"],
            quoted_by=quote["served_by"]["region"],
        )

    @api.get("/postcards/{city_id}/price")
    async def price(city_id: Annotated[int, Path(ge=1)]) -> Price:
        """What a postcard costs; a change made in another region shows within the replication's lag and a second."""
        found = await PRICES.get(_known(catalog, city_id))
        if found is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "no-price", f"postcard {city_id} has no price; PUT one")
        return found

    @api.put("/postcards/{city_id}/price")
    async def set_price(city_id: Annotated[int, Path(ge=1)], price: Price) -> Price:
        """Sets the price; of two changes at once the later one wins in every region."""
        await PRICES.put(_known(catalog, city_id), price)
        return price

    @api.get("/postcards/{city_id}/description")
    async def description(city_id: Annotated[int, Path(ge=1)]) -> Description:
        """What is said of a postcard, as up to date as its price."""
        found = await DESCRIPTIONS.get(_known(catalog, city_id))
        if found is None:
            raise ProblemError(
                HTTPStatus.NOT_FOUND, "no-description", f"postcard {city_id} has no description; PUT one"
            )
        return found

    @api.put("/postcards/{city_id}/description")
    async def describe(city_id: Annotated[int, Path(ge=1)], description: Description) -> Description:
        """Sets the description, as the price."""
        await DESCRIPTIONS.put(_known(catalog, city_id), description)
        return description

    @api.get("/nearest")
    async def nearest(query: Annotated[NearestQuery, Query()]) -> NearPostcards:
        """The postcards nearest to a place."""
        found = catalog.nearest(Coordinates(query.latitude, query.longitude), query.limit)
        return NearPostcards(
            postcards=[
                NearPostcard(**_postcard(near.city).model_dump(), distance_km=round(near.distance_km, 1))
                for near in found
            ]
        )

    return api


def _known(catalog: Catalog, city_id: int) -> str:
    """A postcard's key in the state. Raises `ProblemError` for one that there isn't."""
    if catalog.postcard(city_id) is None:
        raise _unknown(city_id)
    return str(city_id)


def _unknown(city_id: int) -> ProblemError:
    return ProblemError(
        HTTPStatus.NOT_FOUND, "unknown-postcard", f"there is no postcard {city_id}; find ids with search"
    )


def _postcard(city: City) -> Postcard:
    return Postcard(
        id=city.id,
        title=f"Greetings from {city.name}",
        city=city.name,
        country=city.country,
        latitude=city.coordinates.latitude,
        longitude=city.coordinates.longitude,
        population=city.population,
    )
