"""A drill under way, at a glance: what the last seconds were like, and how much of its error budget is left. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from loadtests.drills.figures.users import percentile
from loadtests.drills.record import Record
from loadtests.drills.scenario import Drill, Durations

WINDOW_S = 5.0
"""What counts as now."""
STEADY, FAULT, RECOVERY = "steady state", "fault", "recovery"


@dataclass(frozen=True, slots=True)
class Glance:
    """Rates and latencies are of the last `WINDOW_S` seconds."""

    elapsed_s: float
    """Since the drill began."""
    part: str
    remaining_s: float
    """Of this part."""
    rate: float
    """Requests a second that ended."""
    p50_s: float | None
    p99_s: float | None
    failed: int
    """From the fault on; before it, since the beginning."""
    budget: int
    shares: Mapping[str, float]
    """Of the answers, by region; all regions that were ever seen."""
    states: Mapping[str, str]
    """State and replicas of each region, in words, as far as they are known."""
    busy: float | None


def glance(record: Record, drill: Drill, durations: Durations) -> Glance:
    """`record` ends now; parts of the drill that have not begun yet begin at its end."""
    phases = record.phases
    now_s = phases.end_s
    if phases.fault_s >= now_s:
        part, until_s, since_s = STEADY, phases.begin_s + durations.steady_s, phases.begin_s
    elif phases.heal_s >= now_s:
        part, until_s, since_s = FAULT, phases.fault_s + durations.fault_s, phases.fault_s
    else:
        part, until_s, since_s = RECOVERY, phases.heal_s + durations.recovery_s, phases.fault_s
    window_s = max(0.1, min(WINDOW_S, now_s - phases.begin_s))
    latest = [request for request in record.requests if now_s - window_s < request.ended_s <= now_s]
    took = sorted(request.seconds for request in latest if not request.failed)
    answers = Counter(request.region for request in latest if request.region and not request.failed)
    sample = record.samples[-1] if record.samples else None
    regions = sorted(
        {request.region for request in record.requests if request.region}
        | (set() if sample is None else set(sample.regions))
    )
    return Glance(
        elapsed_s=max(0.0, now_s - phases.begin_s),
        part=part,
        remaining_s=max(0.0, until_s - now_s),
        rate=len(latest) / window_s,
        p50_s=percentile(took, 0.5),
        p99_s=percentile(took, 0.99),
        failed=sum(request.failed and request.due_s >= since_s for request in record.requests),
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
