"""What is measured at one rate, and whether that is good enough."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from loadtests.drills.figures.users import percentile
from loadtests.drills.record import Request
from loadtests.drills.verdict import TOO_BUSY


@dataclass(frozen=True, slots=True)
class Objectives:
    """What has to hold at a rate for the deployment to carry it."""

    p99_s: float
    """From when a request was due; of those that succeeded."""
    errors: float = 0.001
    """Share of requests that may fail."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was seen at one rate."""

    rate: float
    """Requests a second that were meant to come."""
    requests: int
    errors: int
    p50_s: float | None
    p99_s: float | None
    """None: nothing succeeded."""
    busy: float
    """Share of the machine's processor time in use, by anybody."""
    shares: dict[str, float]
    """Region -> its part of the answers."""


class Judgement(StrEnum):
    """Whether a rate is carried."""

    HELD = "held"
    BROKEN = "broken"
    """An objective did not hold."""
    BUSY = "busy"
    """The machine was at its end: this says nothing of Atoll, and a higher rate can't say more."""


def measured(rate: float, requests: Iterable[Request], begin_s: float, end_s: float, busy: float) -> Measured:
    """From the requests that were due from `begin_s` to `end_s`."""
    came = [request for request in requests if begin_s <= request.due_s < end_s]
    good = [request for request in came if not request.failed]
    took: Sequence[float] = sorted(request.seconds for request in good)
    regions = sorted({request.region for request in good if request.region})
    return Measured(
        rate=rate,
        requests=len(came),
        errors=len(came) - len(good),
        p50_s=percentile(took, 0.5),
        p99_s=percentile(took, 0.99),
        busy=busy,
        shares={name: sum(one.region == name for one in good) / len(good) for name in regions},
    )


def judge(seen: Measured, objectives: Objectives) -> tuple[Judgement, str]:
    """With why, in words. A machine that is too busy weighs more than anything else."""
    if seen.busy > TOO_BUSY:
        return Judgement.BUSY, f"{seen.busy:.0%} of the machine was in use"
    if not seen.requests:
        return Judgement.BROKEN, "nobody came"
    if seen.errors > objectives.errors * seen.requests:
        return Judgement.BROKEN, f"{seen.errors} of {seen.requests} requests failed"
    if seen.p99_s is None or seen.p99_s > objectives.p99_s:
        return Judgement.BROKEN, f"p99 was {seen.p99_s:.2f} s"
    return Judgement.HELD, ""
