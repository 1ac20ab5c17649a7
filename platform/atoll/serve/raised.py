"""A set of applications with more replicas at least than the topology says, for a while. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from atoll.serve.applications import INGRESS_DEPLOYMENT
from atoll.serve.document import Application, ApplicationSet, DeploymentOptions


def raised(given: ApplicationSet, minimums: Mapping[str, int]) -> ApplicationSet:
    """The set with at least so many replicas a service, up to the maximum that it has. Others stay as they are, and
    nothing is lowered.

    Serve takes up such a change without restarting a replica: of autoscaling only the period that load is averaged over
    and the interval of its counts are part of a deployment's version (Ray 2.60, ``ray.serve._private.version``).
    """
    if not minimums:
        return given
    return replace(
        given, applications=tuple(_raised(one, minimums.get(one.name, 0)) for one in given.applications)
    )


def _raised(application: Application, minimum: int) -> Application:
    return replace(
        application, deployments=tuple(_with_minimum(one, minimum) for one in application.deployments)
    )


def _with_minimum(options: DeploymentOptions, minimum: int) -> DeploymentOptions:
    known = options.autoscaling_config
    least = min(max(known.min_replicas, minimum), known.max_replicas)
    if options.name != INGRESS_DEPLOYMENT or least == known.min_replicas:
        return options
    return replace(options, autoscaling_config=replace(known, min_replicas=least))
