"""The checkout as a Ray Serve application: `import_path` is `atoll_services.checkout.app:app`."""

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application

from atoll_services.checkout.api import create_api


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


_deployment = serve.deployment(
    name="ingress",  # by this name the topology sets its options
    max_ongoing_requests=64,
    max_queued_requests=128,
    autoscaling_config={
        "min_replicas": 1,
        "max_replicas": 4,
        "target_ongoing_requests": 16,
        "look_back_period_s": 3,
        "upscale_delay_s": 1,
        "downscale_delay_s": 30,
        "metrics_interval_s": 0.5,
    },
    health_check_period_s=5,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=20,  # longer than its requests may take
    ray_actor_options={"num_cpus": 0.25},  # a place in the cluster; it mostly waits for the state
)(serve.ingress()(CheckoutIngress))


def app(settings: CheckoutSettings) -> Application:
    """Builds the application; Serve passes the `args` of its configuration."""
    return _deployment.bind(settings)
