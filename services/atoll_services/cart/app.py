"""Carts as a Ray Serve application: `import_path` is `atoll_services.cart.app:app`."""

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from ray.serve import Application

from atoll_services.cart.api import create_api
from atoll_services.deployment import ingress


class CartSettings(BaseModel):
    """Arguments of the application: none."""

    model_config = ConfigDict(extra="forbid")


class CartIngress:
    """Keeps nothing itself: all it knows is in the state."""

    def __init__(self, settings: CartSettings) -> None:
        self._settings = settings

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_api()


_deployment = ingress(CartIngress)


def app(settings: CartSettings) -> Application:
    """Builds the application; Serve passes the `args` of its configuration."""
    return _deployment.bind(settings)
