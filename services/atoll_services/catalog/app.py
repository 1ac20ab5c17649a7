"""The catalog as a Ray Serve application: `import_path` is `atoll_services.catalog.app:app`."""

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from ray.serve import Application

from atoll_services.catalog.api import create_api
from atoll_services.catalog.catalog import Catalog
from atoll_services.cities import MinPopulation, load_cities
from atoll_services.deployment import ingress


class CatalogSettings(BaseModel):
    """Arguments of the application."""

    model_config = ConfigDict(extra="forbid")

    min_city_population: MinPopulation = 15000


class CatalogIngress:
    """Serves the catalog from this replica's own memory."""

    def __init__(self, settings: CatalogSettings) -> None:
        self._catalog = Catalog(load_cities(settings.min_city_population))

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_api(self._catalog)

    def check_health(self) -> None:
        """Healthy while it can find something. Serve replaces the replica if this raises or hangs."""
        if not self._catalog.search("", None, limit=1):
            raise RuntimeError("the catalog is empty")


_deployment = ingress(CatalogIngress)


def app(settings: CatalogSettings) -> Application:
    """Builds the application; Serve passes the `args` of its configuration."""
    return _deployment.bind(settings)
