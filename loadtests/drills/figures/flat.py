"""Figures under the names that expectations use."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from loadtests.drills.figures.collect import Figures
from loadtests.drills.figures.phases import Phase
from loadtests.drills.figures.users import UserFigures


def flatten(figures: Figures) -> Mapping[str, float | None]:
    """Name -> value, in the order of the table. None: nothing was seen of it; infinite: it never happened.

    A count of errors among no requests is None too: nothing was shown.
    """
    flat: dict[str, float | None] = {}
    for phase in Phase:
        for name, found in _phase(figures, phase):
            flat[f"{phase}.{name}"] = found
    for way, settling in figures.settling.items():
        prefix = f"{way}." if way else ""
        flat[f"{prefix}last_error_s"] = settling.last_error_s
        flat[f"{prefix}settled_s"] = settling.settled_s
    writes, scaling = figures.writes, figures.scaling
    came = figures.phases[Phase.DURING].users.requests + figures.phases[Phase.AFTER].users.requests > 0
    flat |= {
        "recovery_s": figures.recovery_s,
        "exposure.failed": figures.exposure.failed,
        "exposure.seconds": figures.exposure.seconds,
        "failed": figures.failed if came else None,
        "failed_elsewhere": figures.failed_elsewhere if came else None,
        "amplification.worst_10s": figures.worst_amplification,
        "amplification.over_budget": figures.over_budget,
        "writes.acknowledged": writes.acknowledged,
        "writes.unknown": writes.unknown,
        "writes.lost": writes.lost if writes.acknowledged else None,
        "writes.duplicated": writes.duplicated if writes.acknowledged else None,
        "autoscaling.reaction_s": scaling.reaction_s,
        "autoscaling.calm_s": scaling.calm_s,
        "autoscaling.turns": scaling.turns,
        "autoscaling.most_replicas": scaling.most_replicas,
        "autoscaling.added": scaling.added,
        "clock.noticed_s": figures.clock.noticed_s,
        "clock.trusted_s": figures.clock.trusted_s,
        "busy.mean": figures.busy_mean,
        "busy.most_5s": figures.busy_most,
        "restarts": figures.restarts,
    }
    return MappingProxyType(flat)


def value(flat: Mapping[str, float | None], name: str) -> float | None:
    """One figure. An error of a kind that nobody saw is 0, if there were requests."""
    phase, _, rest = name.partition(".")
    if name not in flat and rest.startswith("errors.kind."):
        return 0.0 if flat.get(f"{phase}.errors") is not None else None
    return flat.get(name)


def _phase(figures: Figures, phase: Phase) -> Iterator[tuple[str, float | None]]:
    found, steady = figures.phases[phase], figures.phases[Phase.BEFORE]
    yield "seconds", found.seconds
    yield from _users(found.users, steady.users)
    for kind, count in found.users.errors_by_kind.items():
        yield f"errors.kind.{kind}", count
    for name, group in found.groups.items():
        for figure, seen in _users(group, steady.groups.get(name)):
            yield f"{name}.{figure}", seen
    for region in sorted(figures.regions):
        yield f"share.{region}", found.shares.get(region, 0.0) if found.shares else None
    yield "amplification", found.amplification
    yield "busy", found.busy


def _users(users: UserFigures, steady: UserFigures | None) -> Iterator[tuple[str, float | None]]:
    yield "requests", users.requests
    yield "errors", users.errors if users.requests else None
    yield "errors.replayable", users.errors_replayable if users.replayable else None
    yield "availability", users.availability
    yield "goodput_per_s", users.goodput_per_s if users.requests else None
    latency = users.latency
    yield "latency.p50_s", latency.p50_s
    yield "latency.p90_s", latency.p90_s
    yield "latency.p99_s", latency.p99_s
    yield "latency.p999_s", latency.p999_s
    yield "latency.max_s", latency.max_s
    usual = None if steady is None else steady.latency.p99_s
    yield "latency.p99_ratio", latency.p99_s / usual if latency.p99_s is not None and usual else None
    yield "tries", users.tries
