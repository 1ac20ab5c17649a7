"""What Serve says of itself: the answer of ``GET /api/serve/applications/``, as far as Atoll reads it.

Names are those of Ray Serve 2.60 (``ray.serve.schema.ServeInstanceDetails``). What is not listed here is ignored, so
that a newer Serve is still understood.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError, WrapValidator
from pydantic_core.core_schema import ValidatorFunctionWrapHandler

from atoll.serve.document import Application

REPLICA_TARGET = "SERVE_REPLICA::"
"""How the names of targets that are replicas begin; those of Serve's proxies begin otherwise."""


class _Open(StrEnum):
    """An enumeration that reads values it doesn't know as ``UNKNOWN``."""

    @classmethod
    def _missing_(cls, value: object) -> "_Open":  # noqa: ARG003  the name is fixed by enum
        return cls("UNKNOWN")


class ApplicationState(_Open):
    NOT_STARTED = "NOT_STARTED"
    DEPLOYING = "DEPLOYING"
    DEPLOY_FAILED = "DEPLOY_FAILED"
    RUNNING = "RUNNING"
    UNHEALTHY = "UNHEALTHY"
    DELETING = "DELETING"
    UNKNOWN = "UNKNOWN"


class DeploymentState(_Open):
    UPDATING = "UPDATING"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DEPLOY_FAILED = "DEPLOY_FAILED"
    UPSCALING = "UPSCALING"
    DOWNSCALING = "DOWNSCALING"
    UNKNOWN = "UNKNOWN"


class ReplicaState(_Open):
    STARTING = "STARTING"
    UPDATING = "UPDATING"
    RECOVERING = "RECOVERING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    PENDING_MIGRATION = "PENDING_MIGRATION"
    STOPPED = "STOPPED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica, alive or recently dead."""

    replica_id: str
    state: ReplicaState
    pid: int | None = None
    log_file_path: str | None = None
    """Below the folder of Ray's logs."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment of an application."""

    status: DeploymentState
    message: str
    """What is wrong, with the traceback of a replica that failed to start; empty if all is well."""
    target_num_replicas: int
    replicas: tuple[Replica, ...]
    recent_dead_replicas: tuple[Replica, ...] = ()

    @property
    def running(self) -> int:
        """Replicas that take requests."""
        return sum(replica.state is ReplicaState.RUNNING for replica in self.replicas)


def _ours_or_none(value: Any, handler: ValidatorFunctionWrapHandler) -> Application | None:
    try:
        application: Application = handler(value)
    except ValidationError:
        return None
    return application


@dataclass(frozen=True, slots=True)
class RunningApplication:
    """One application as Serve has it."""

    name: str
    status: ApplicationState
    message: str
    """What is wrong; empty if all is well."""
    deployments: Mapping[str, Deployment]
    """Empty while Serve builds the application anew and after it failed to, even if replicas of before serve on."""
    deployed_app_config: Annotated[Application | None, WrapValidator(_ours_or_none)] = None
    """What Serve was given; None if it is nothing that Atoll writes."""

    @property
    def recovers(self) -> bool:
        """Whether a controller that has just started is finding replicas of before again, which serve on meanwhile."""
        return any(
            replica.state is ReplicaState.RECOVERING
            for deployment in self.deployments.values()
            for replica in deployment.replicas
        )


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests for a route can be sent."""

    ip: str
    port: int
    name: str

    @property
    def is_replica(self) -> bool:
        """Whether this is a replica. Otherwise it is Serve's proxy, named while no replica is known."""
        return self.name.startswith(REPLICA_TARGET)


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """The targets of one application (of none: the proxy alone) and protocol."""

    protocol: str
    app_name: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Controller:
    """Serve's controller."""

    actor_id: str | None = None


@dataclass(frozen=True, slots=True)
class Listening:
    """Where Serve's proxy listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ServeStatus:
    """A snapshot of Serve in one cluster."""

    applications: Mapping[str, RunningApplication] = field(default_factory=lambda: MappingProxyType({}))
    target_groups: tuple[TargetGroup, ...] = ()
    controller_info: Controller = Controller()
    http_options: Listening | None = None

    @property
    def has_controller(self) -> bool:
        """Whether this is Serve's word. Without a controller (not started yet, or not found because Ray's GCS does not
        answer) the document is empty and says nothing about replicas.
        """
        return self.controller_info.actor_id is not None


SERVE_STATUS = TypeAdapter(ServeStatus)
"""Reads the document."""
