"""A drill under way, at a glance: what the last seconds were like, and how much of its error budget is left. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from loadtests.drills.conductor import Course, Stage
from loadtests.drills.figures.users import percentile
from loadtests.drills.record import Record
from loadtests.drills.scenario import Drill, FaultKind

WINDOW_S = 5.0
"""What counts as now."""


@dataclass(frozen=True, slots=True)
class Glance:
    """Rates and latencies are of the last `WINDOW_S` seconds."""

    elapsed_s: float
    """Since the drill began."""
    stage: Stage
    part: str
    """The stage, in words."""
    remaining_s: float
    lasts_s: float
    rate: float
    """Requests a second that ended."""
    p50_s: float | None
    p99_s: float | None
    failed: int
    """From the fault on; before it, since the run is warm."""
    budget: int
    shares: Mapping[str, float]
    """Of the answers, by region; all regions that were ever seen."""
    states: Mapping[str, str]
    """State and replicas of each region, in words, as far as they are known."""
    busy: float | None


def glance(record: Record, course: Course, drill: Drill) -> Glance:
    """`record` ends now, and `course` is of now."""
    begin_s, now_s = record.phases.begin_s, record.phases.end_s
    window_s = max(0.1, min(WINDOW_S, now_s - begin_s))
    latest = [request for request in record.requests if now_s - window_s < request.ended_s <= now_s]
    took = sorted(request.seconds for request in latest if not request.failed)
    answers = Counter(request.region for request in latest if request.region and not request.failed)
    sample = record.samples[-1] if record.samples else None
    regions = sorted(
        {request.region for request in record.requests if request.region}
        | (set() if sample is None else set(sample.regions))
    )
    return Glance(
        elapsed_s=max(0.0, now_s - begin_s),
        stage=course.stage,
        part=_part(course.stage, drill),
        remaining_s=course.remaining_s,
        lasts_s=course.lasts_s,
        rate=len(latest) / window_s,
        p50_s=percentile(took, 0.5),
        p99_s=percentile(took, 0.99),
        failed=course.failed,
        budget=drill.limits.failed,
        shares={name: answers[name] / answers.total() if answers else 0.0 for name in regions},
        states={}
        if sample is None
        else {
            name: f"{region.state}, {sum(region.replicas.values())} of {sum(region.targets.values())} replicas"
            for name, region in sample.regions.items()
        },
        busy=None if sample is None else sample.busy,
    )


def _part(stage: Stage, drill: Drill) -> str:
    """What people call a stage: where nothing breaks, the load is the test."""
    if stage is Stage.FAULT and all(fault.kind is FaultKind.NONE for fault in drill.faults):
        return "load"
    return "steady state" if stage is Stage.STEADY else stage.value
