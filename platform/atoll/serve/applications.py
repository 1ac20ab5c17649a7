"""From the topology to what Serve is to run in a region. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.calls import GATEWAYS_VARIABLE
from atoll.serve.document import (
    Application,
    ApplicationSet,
    Autoscaling,
    Backpressure,
    DeploymentOptions,
    GrpcOptions,
    HttpOptions,
    LoggingOptions,
    RuntimeEnvironment,
)
from atoll.topology import AutoscalingPolicy, Region, Service, Topology
from atoll.topology.wiring import Address

INGRESS_DEPLOYMENT = "ingress"
"""The name that a service gives to the deployment that takes its requests (``@serve.deployment(name="ingress")``).

Serve wants options by deployment name and refuses a name that the code doesn't have; a fixed one lets the topology
be the only place that says how a service scales, whatever the service's classes are called.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """How Serve runs in a region. Times are in seconds."""

    http: Address
    """Where Serve's proxy listens; replicas listen at the same host."""
    grpc_port: int
    gateways: tuple[str, ...] = ()
    """Public addresses of the region's gateways, through which its services call each other."""
    code: Mapping[str, str] = field(default_factory=dict)
    """Service -> version of its code (`atoll.serve.code.code_versions`); a new version rolls the service."""
    request_timeout_s: float = 300.0
    """The longest that a replica works for a request. A backstop: gateways hold the services' own, shorter limits.
    It can't follow them, because Serve reads it once, when it first starts."""
    keep_alive_timeout_s: int = 90
    """How long a replica keeps an idle connection; longer than gateways do, so that they are the ones who close."""
    metrics_interval_s: float = 0.5
    """How often replicas count. Serve's default is 10; the price is one small message a replica and interval. Serve
    calls it deprecated but still counts by it; it goes with RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S,
    which the head's environment sets. Together with the delays above: from 1 to 4 replicas wanted in 2.3 s."""
    queue_share: float = 0.5
    """Requests that a replica lets wait, as a share of those it works on. Serve's default is no limit, with which an
    overloaded replica answers ever later and nothing late is of use; a full one refuses at once and without having
    begun, so that the gateway can go elsewhere."""
    health_check_period_s: float = 5.0
    """Serve's default is 10. A gateway ejects a dead replica by itself; this is how soon Serve replaces it."""
    health_check_timeout_s: float = 10.0
    """Serve's default is 30, three times in a row. Much shorter would replace replicas for being busy."""
    shutdown_margin_s: float = 5.0
    """A replica that is to stop has the service's timeout and this much more to finish its requests."""


def application_set(topology: Topology, region: str, settings: ServeSettings) -> ApplicationSet:
    """All services deployed in a region, as Serve's declarative document. Raises `KeyError` for an unknown region."""
    place = topology.regions[region]
    services = topology.deployed_in(region)
    return ApplicationSet(
        http_options=HttpOptions(
            host=settings.http.host,
            port=settings.http.port,
            request_timeout_s=max([settings.request_timeout_s, *(service.timeout_s for service in services)]),
            keep_alive_timeout_s=settings.keep_alive_timeout_s,
        ),
        grpc_options=GrpcOptions(port=settings.grpc_port),
        applications=tuple(
            _application(service, place, topology.autoscaling, settings) for service in services
        ),
    )


def _application(
    service: Service, region: Region, scaling: AutoscalingPolicy, settings: ServeSettings
) -> Application:
    environment = {"ATOLL_REGION": region.name, "ATOLL_ZONE": region.zone, "ATOLL_SERVICE": service.name}
    if settings.gateways:
        environment[GATEWAYS_VARIABLE] = ",".join(settings.gateways)
    if service.name in settings.code:
        environment["ATOLL_CODE_VERSION"] = settings.code[service.name]
    return Application(
        name=service.name,
        route_prefix=service.route_prefix,
        import_path=service.import_path,
        runtime_env=RuntimeEnvironment(env_vars=environment),
        args=dict(service.arguments),
        deployments=(_ingress(service, scaling, settings),),
        # The gateway has an access log; a second one in every replica costs a line a request.
        logging_config=LoggingOptions(encoding="JSON", enable_access_log=False),
    )


def _ingress(service: Service, scaling: AutoscalingPolicy, settings: ServeSettings) -> DeploymentOptions:
    replicas = service.replicas
    return DeploymentOptions(
        name=INGRESS_DEPLOYMENT,
        max_ongoing_requests=replicas.max_in_flight,
        max_queued_requests=max(1, round(replicas.max_in_flight * settings.queue_share)),
        backpressure_config=Backpressure(status_code=503, retry_after_s=1),
        autoscaling_config=Autoscaling(
            min_replicas=replicas.minimum,
            max_replicas=replicas.maximum,
            target_ongoing_requests=replicas.target_in_flight,
            look_back_period_s=scaling.look_back_s,
            upscale_delay_s=scaling.upscale_delay_s,
            downscale_delay_s=scaling.downscale_delay_s,
            metrics_interval_s=settings.metrics_interval_s,
        ),
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=service.timeout_s + settings.shutdown_margin_s,
        health_check_period_s=settings.health_check_period_s,
        health_check_timeout_s=settings.health_check_timeout_s,
        # New replicas start before old ones stop: no dip in capacity, for the memory of both while they overlap.
        rolling_update_percentage=0.5,
        max_surge_percent=100,
    )
