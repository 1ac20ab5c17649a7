"""The inventory as a Ray Serve application: `import_path` is `atoll_services.inventory.app:app`."""

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application

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
)(serve.ingress()(InventoryIngress))


def app(settings: InventorySettings) -> Application:
    """Builds the application; Serve passes the `args` of its configuration."""
    return _deployment.bind(settings)
