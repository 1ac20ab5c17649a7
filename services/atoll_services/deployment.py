"""How the shop's services are deployed. What the topology says of a service goes before it."""

from ray import serve
from ray.serve import Deployment


def ingress(replica: type) -> Deployment:
    """The one deployment of an application: `replica` is made from the application's arguments, and says with
    ``__serve_build_asgi_app__`` what it answers.
    """
    deployed: Deployment = serve.deployment(
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
        graceful_shutdown_timeout_s=20,  # longer than any request may take
        ray_actor_options={"num_cpus": 0.25},  # a place in the cluster; replicas mostly wait
    )(serve.ingress()(replica))
    return deployed
