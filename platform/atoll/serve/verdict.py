"""Whether Serve runs what it is meant to. Pure."""

import re
from dataclasses import dataclass

from atoll.serve.applications import INGRESS_DEPLOYMENT
from atoll.serve.document import Application, ApplicationSet
from atoll.serve.status import ApplicationState, DeploymentState, RunningApplication, ServeStatus

TAIL_LINES = 14
"""Lines of a replica's error that are shown: its own frames and the error itself stand at the end."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class ApplicationProgress:
    """How far one application is."""

    name: str
    status: ApplicationState | None
    """None while Serve does not know the application as it is wanted."""
    running: int
    wanted: int
    """Replicas that it is to have at least."""

    def __str__(self) -> str:
        state = "waiting" if self.status is None else self.status.value.lower().replace("_", " ")
        return f"{self.name} {self.running}/{self.wanted} {state}"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one application does not run."""

    application: str
    error: str
    """All that Serve says, the replica's traceback included."""
    logs: tuple[str, ...] = ()
    """Log files of the replicas that died, below the folder of Ray's logs."""

    @property
    def tail(self) -> str:
        """The end of the error, where the replica's own code is."""
        return "\n".join(self.error.rstrip().splitlines()[-TAIL_LINES:])

    def __str__(self) -> str:
        text = f"{self.application}:\n" + "\n".join(f"    {line}" for line in self.tail.splitlines())
        if f"Deployment '{INGRESS_DEPLOYMENT}' does not exist" in self.error:
            text += f'\n    Name the one that takes requests: @serve.deployment(name="{INGRESS_DEPLOYMENT}")'
        if self.logs:
            text += f"\n    log: {self.logs[-1]}"
        return text


@dataclass(frozen=True, slots=True)
class Runs:
    """Serve runs the set and nothing else."""


@dataclass(frozen=True, slots=True)
class Differs:
    """Serve was not given this set, or has lost it."""


@dataclass(frozen=True, slots=True)
class Comes:
    """Serve has the set and is at work; `troubles` are what it waits for or complains about meanwhile."""

    troubles: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Fails:
    """Serve has the set and has given up on some of it."""

    failures: tuple[Failure, ...]


Verdict = Runs | Differs | Comes | Fails


def judge(status: ServeStatus, wanted: ApplicationSet) -> Verdict:
    """Compares what Serve says with what it is to run."""
    there = {
        name: application
        for name, application in status.applications.items()
        if application.status is not ApplicationState.DELETING
    }
    if not status.has_controller or there.keys() != {application.name for application in wanted.applications}:
        return Differs()
    pairs = [(application, there[application.name]) for application in wanted.applications]
    if any(found.deployed_app_config != application for application, found in pairs):
        return Differs()
    if failures := tuple(_failure(found) for _, found in pairs if _has_failed(found)):
        return Fails(failures)
    if all(_runs(application, found) for application, found in pairs):
        return Runs()
    return Comes(tuple(failure for _, found in pairs if (failure := _failure(found)).error))


def progress(status: ServeStatus, wanted: ApplicationSet) -> tuple[ApplicationProgress, ...]:
    """How far each application of the set is, in the set's order."""
    return tuple(_progress(application, status) for application in wanted.applications)


def _progress(application: Application, status: ServeStatus) -> ApplicationProgress:
    found = status.applications.get(application.name)
    if found is None or found.deployed_app_config != application:
        return ApplicationProgress(application.name, None, 0, _minimum(application))
    return ApplicationProgress(application.name, found.status, _running(found), _minimum(application))


def _runs(application: Application, found: RunningApplication) -> bool:
    return found.status is ApplicationState.RUNNING and _running(found) >= _minimum(application)


def _has_failed(found: RunningApplication) -> bool:
    return found.status is ApplicationState.DEPLOY_FAILED


def _running(found: RunningApplication) -> int:
    ingress = found.deployments.get(INGRESS_DEPLOYMENT)
    return 0 if ingress is None else ingress.running


def _minimum(application: Application) -> int:
    return sum(
        options.autoscaling_config.min_replicas
        for options in application.deployments
        if options.name == INGRESS_DEPLOYMENT
    )


def _failure(found: RunningApplication) -> Failure:
    troubled = [
        deployment
        for deployment in found.deployments.values()
        if deployment.status is not DeploymentState.HEALTHY
    ]
    messages = [found.message, *(deployment.message for deployment in troubled)]
    return Failure(
        application=found.name,
        error=_COLOUR.sub("", "\n".join(message.strip() for message in messages if message.strip())),
        logs=tuple(
            replica.log_file_path
            for deployment in troubled
            for replica in deployment.recent_dead_replicas
            if replica.log_file_path is not None
        ),
    )
