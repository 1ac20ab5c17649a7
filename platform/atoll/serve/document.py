"""Serve's declarative document, as far as Atoll uses it: the body of ``PUT /api/serve/applications/``.

Names and meanings are those of Ray Serve 2.60 (``ray.serve.schema.ServeDeploySchema``). The same classes are the
form in which sets are kept on disk and in which Serve tells what it was given.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ConfigDict, TypeAdapter, with_config

# An option that Atoll never sets means that somebody else wrote the document, so it must not read as one of ours.
_EXACT = ConfigDict(extra="forbid")

Argument = str | int | float | bool


@with_config(_EXACT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaling:
    """When Serve adds and takes away replicas. Times are in seconds."""

    min_replicas: int
    max_replicas: int
    target_ongoing_requests: float
    look_back_period_s: float
    upscale_delay_s: float
    downscale_delay_s: float
    metrics_interval_s: float


@with_config(_EXACT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Backpressure:
    """What a replica answers when its queue is full."""

    status_code: int
    retry_after_s: int


@with_config(_EXACT)
@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentOptions:
    """Options of one deployment; they take precedence over those in its code."""

    name: str
    max_ongoing_requests: int
    max_queued_requests: int
    backpressure_config: Backpressure
    autoscaling_config: Autoscaling
    graceful_shutdown_wait_loop_s: float
    graceful_shutdown_timeout_s: float
    health_check_period_s: float
    health_check_timeout_s: float
    rolling_update_percentage: float
    max_surge_percent: int


@with_config(_EXACT)
@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeEnvironment:
    """What is particular to the processes of one application."""

    env_vars: Mapping[str, str]


@with_config(_EXACT)
@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingOptions:
    """How replicas log."""

    encoding: str
    enable_access_log: bool


@with_config(_EXACT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """One Serve application: an Atoll service in one region."""

    name: str
    route_prefix: str
    import_path: str
    runtime_env: RuntimeEnvironment
    args: Mapping[str, Argument]
    deployments: tuple[DeploymentOptions, ...]
    logging_config: LoggingOptions


@with_config(_EXACT)
@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """Serve's HTTP servers, its proxy's and the replicas' own. Fixed when Serve first starts in a cluster."""

    host: str
    port: int
    """Of the proxy. Replicas take theirs from Serve's range for direct ingress."""
    request_timeout_s: float
    keep_alive_timeout_s: int


@with_config(_EXACT)
@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcOptions:
    """Where Serve's gRPC proxy would listen. Atoll uses none, but two clusters on a machine must differ here."""

    port: int


@with_config(_EXACT)
@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationSet:
    """All that Serve is to run in one region. What is not in it, Serve removes: it is always the full set."""

    http_options: HttpOptions
    grpc_options: GrpcOptions
    applications: tuple[Application, ...]
    proxy_location: str = "HeadOnly"


APPLICATION_SET = TypeAdapter(ApplicationSet)
"""Reads and writes a set as JSON."""
