"""From a record to its figures."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from loadtests.drills.figures import amplification, blast, machine, settling
from loadtests.drills.figures.clock import ClockFigures, clock_figures
from loadtests.drills.figures.phases import Phase, by_phase, counted, seen_in, span
from loadtests.drills.figures.scaling import ScalingFigures, scaling_figures
from loadtests.drills.figures.users import UserFigures, latency, user_figures
from loadtests.drills.record import Phases, Record, Request, Way, Writes
from loadtests.drills.scenario import Drill, ShapeKind

ENOUGH = 20
"""Answers in the steady state, or its p99 says nothing."""


@dataclass(frozen=True, slots=True)
class PhaseFigures:
    """One phase."""

    seconds: float
    users: UserFigures
    groups: Mapping[str, UserFigures]
    """Of some of the users: ``entry`` and ``dns`` by their way, ``critical``, ``service.NAME``."""
    shares: Mapping[str, float]
    """Region -> its part of the answers; empty if there were none."""
    amplification: float | None
    busy: float | None


@dataclass(frozen=True, slots=True)
class Settling:
    """See `settling`. None: nobody came, or the steady state was too short to compare with."""

    last_error_s: float | None
    settled_s: float | None


@dataclass(frozen=True, slots=True)
class Exposure:
    """What users that follow DNS felt from the fault on, whose gateway may be gone until the time to live runs out."""

    failed: int | None
    """None: there were no such users."""
    seconds: float | None
    """From when the first of their requests that failed was due, to the last one."""


@dataclass(frozen=True, slots=True)
class Figures:
    """All of one drill. `flatten` has them by the names that expectations use."""

    phases: Mapping[Phase, PhaseFigures]
    settling: Mapping[str, Settling]
    """All users under the empty name, and ``entry`` and ``dns``."""
    recovery_s: float | None
    exposure: Exposure
    failed: int
    """Requests that failed from the fault on: what the error budget is for."""
    failed_elsewhere: int
    worst_amplification: float | None
    over_budget: float | None
    writes: Writes
    scaling: ScalingFigures
    clock: ClockFigures
    busy_mean: float | None
    busy_most: float | None
    restarts: int | None
    regions: frozenset[str]
    """Those that were seen, by anybody."""


def figures(record: Record, drill: Drill, homes: Mapping[str, str] | None = None) -> Figures:
    """Every figure of a drill. `homes` is country -> its users' nearest region, where that is known; else it is found
    out from who served them while nothing was wrong.
    """
    requests = counted(record)
    parts = by_phase(requests, record.phases)
    felt = [*parts[Phase.DURING], *parts[Phase.AFTER]]
    samples = seen_in(record.samples, record.phases.steady_s, record.phases.end_s)
    regions = frozenset(
        {name for sample in record.samples for name in sample.regions}
        | {request.region for request in requests if request.region}
    )
    hold_s = drill.load.wait_ms / 1000.0
    phases = {phase: _phase(record, phase, parts[phase], hold_s) for phase in Phase}
    moves = drill.load.shape.kind is ShapeKind.SUN
    lost = {} if moves else settling.lost(phases[Phase.BEFORE].shares, phases[Phase.DURING].shares)
    return Figures(
        phases=phases,
        settling={
            name: _settling(record.phases, [request for request in requests if name in {"", request.way}])
            for name in ("", *Way)
        },
        recovery_s=settling.recovered_s(requests, lost, record.phases.heal_s, record.phases.end_s),
        exposure=_exposure(felt),
        failed=sum(request.failed for request in felt),
        failed_elsewhere=blast.failed_elsewhere(felt, homes or blast.homes(parts), drill.faults),
        worst_amplification=amplification.worst(requests),
        over_budget=amplification.over_budget(requests, len(regions)),
        writes=record.writes,
        scaling=scaling_figures(samples, record.phases),
        clock=clock_figures(samples, record.phases),
        busy_mean=machine.mean_busy(samples),
        busy_most=machine.busiest(samples),
        restarts=machine.restarts(samples),
        regions=regions,
    )


def _phase(record: Record, phase: Phase, requests: Sequence[Request], hold_s: float) -> PhaseFigures:
    """`hold_s` is for how long replicas hold each request: what a phase's load brings is answered from then on."""
    begin_s, end_s = span(phase, record.phases)
    answered_from_s = min(begin_s + hold_s, end_s)
    groups: dict[str, list[Request]] = {}
    for request in requests:
        for name in _groups(request):
            groups.setdefault(name, []).append(request)
    answers = Counter(request.region for request in requests if request.region and not request.failed)
    return PhaseFigures(
        seconds=end_s - begin_s,
        users=user_figures(requests, answered_from_s, end_s),
        groups={name: user_figures(groups[name], answered_from_s, end_s) for name in sorted(groups)},
        shares={name: count / answers.total() for name, count in sorted(answers.items())},
        amplification=amplification.amplification(requests),
        busy=machine.mean_busy(seen_in(record.samples, begin_s, end_s)),
    )


def _groups(request: Request) -> Iterable[str]:
    yield request.way.value
    if request.service:
        yield f"service.{request.service}"
    if request.criticality == "critical":
        yield "critical"


def _settling(phases: Phases, requests: Sequence[Request]) -> Settling:
    parts = by_phase(requests, phases)
    steady = [request for request in parts[Phase.BEFORE] if not request.failed]
    p99_s = latency(steady).p99_s if len(steady) >= ENOUGH else None
    return Settling(
        last_error_s=settling.last_error_s(parts[Phase.DURING], phases.fault_s),
        settled_s=None
        if p99_s is None
        else settling.settled_s(requests, phases.fault_s, phases.heal_s, settling.slow_s(p99_s)),
    )


def _exposure(felt: Iterable[Request]) -> Exposure:
    theirs = [request for request in felt if request.way is Way.DNS]
    if not theirs:
        return Exposure(None, None)
    failed = [request.due_s for request in theirs if request.failed]
    return Exposure(len(failed), max(failed) - min(failed) if failed else 0.0)
