"""The checkout as a Ray Serve application: `import_path` is `atoll_services.checkout.app:app`."""

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray.serve import Application

from atoll_services.checkout.api import create_api
from atoll_services.deployment import ingress


class CheckoutSettings(BaseModel):
    """Arguments of the application."""

    model_config = ConfigDict(extra="forbid")

    price_cents: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="what an article costs that the catalog has no price for",
    )


class CheckoutIngress:
    """Keeps nothing itself: all it knows is in the state."""

    def __init__(self, settings: CheckoutSettings) -> None:
        self._settings = settings

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_api(self._settings.price_cents)


_deployment = ingress(CheckoutIngress)


def app(settings: CheckoutSettings) -> Application:
    """Builds the application; Serve passes the `args` of its configuration."""
    return _deployment.bind(settings)
