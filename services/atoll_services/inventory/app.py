"""The inventory as a Ray Serve application: `import_path` is `atoll_services.inventory.app:app`."""

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from ray.serve import Application

from atoll_services.deployment import ingress
from atoll_services.inventory.api import create_api


class InventorySettings(BaseModel):
    """Arguments of the application: none."""

    model_config = ConfigDict(extra="forbid")


class InventoryIngress:
    """Keeps nothing itself: all it knows is in the state."""

    def __init__(self, settings: InventorySettings) -> None:
        self._settings = settings

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_api()


_deployment = ingress(InventoryIngress)


def app(settings: InventorySettings) -> Application:
    """Builds the application; Serve passes the `args` of its configuration."""
    return _deployment.bind(settings)
