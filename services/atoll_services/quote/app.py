"""Quotes as a Ray Serve application: `import_path` is `atoll_services.quote.app:app`."""

import os

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application

from atoll.sdk import region
from atoll_services.cities import MinPopulation, load_cities
from atoll_services.deployment import ingress
from atoll_services.quote.api import Server, create_api
from atoll_services.quote.cities import CityBook


class QuoteSettings(BaseModel):
    """Arguments of the application."""

    model_config = ConfigDict(extra="forbid")

    min_city_population: MinPopulation = 15000


class QuoteIngress:
    """Quotes prices from this replica's own memory."""

    def __init__(self, settings: QuoteSettings) -> None:
        self._cities = CityBook(load_cities(settings.min_city_population))
        self._server = Server(
            region=region(), replica=serve.get_replica_context().replica_id.unique_id, pid=os.getpid()
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_api(self._cities, self._server)

    def check_health(self) -> None:
        """Healthy while it knows cities. Serve replaces the replica if this raises or hangs."""
        if not self._cities:
            raise RuntimeError("there are no cities to quote for")


_deployment = ingress(QuoteIngress)


def app(settings: QuoteSettings) -> Application:
    """Builds the application; Serve passes the `args` of its configuration."""
    return _deployment.bind(settings)
