"""What is drawn of a drill. Times are seconds from the fault."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from loadtests.drills.record import MarkKind


@dataclass(frozen=True, slots=True)
class Bin:
    """The requests that were due in a stretch of time. Rates are per second."""

    begin_s: float
    end_s: float
    answers: Mapping[str, float]
    """By the region that answered."""
    errors: Mapping[str, float]
    """Failed requests by kind, not per second."""
    p50_ms: float | None
    p99_ms: float | None

    @property
    def failed(self) -> float:
        """A second."""
        return sum(self.errors.values()) / (self.end_s - self.begin_s)


@dataclass(frozen=True, slots=True)
class ReplicaPoint:
    """A region's replicas, all services together, from a moment on. None: it did not say."""

    at_s: float
    running: int | None
    wanted: int | None


@dataclass(frozen=True, slots=True)
class BusyPoint:
    """Share of the processors' time that was used until a moment, since the one before."""

    at_s: float
    share: float


@dataclass(frozen=True, slots=True)
class Event:
    """Something on the time line."""

    at_s: float
    kind: MarkKind | None
    """None: a figure of the verdict, such as the last error."""
    text: str


@dataclass(frozen=True, slots=True)
class PhaseLatency:
    """The latency of a whole phase."""

    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that is drawn."""

    begin_s: float
    heal_s: float
    end_s: float
    fault: str
    """What the stretch between 0 and `heal_s` is called."""
    origin: str = "the fault"
    """What happens at 0."""
    bins: Sequence[Bin] = ()
    latency: tuple[PhaseLatency, PhaseLatency, PhaseLatency] = field(
        default_factory=lambda: (PhaseLatency(None, None),) * 3
    )
    """Before, during and after."""
    replicas: Mapping[str, Sequence[ReplicaPoint]] = field(default_factory=dict)
    busy: Sequence[BusyPoint] = ()
    busy_limit: float = 0.8
    events: Sequence[Event] = ()

    @property
    def regions(self) -> list[str]:
        """In the order of their colours, which is the same in all plots."""
        names = {region for one in self.bins for region in one.answers} | set(self.replicas)
        return sorted(names)


def merged(bins: Sequence[Bin], each: int) -> list[Bin]:
    """`each` neighbours as one: means of rates, sums of errors, the median p50, the highest p99."""
    return [_one(bins[at : at + each]) for at in range(0, len(bins), each)] if each > 1 else list(bins)


def _one(bins: Sequence[Bin]) -> Bin:
    begin_s, end_s = bins[0].begin_s, bins[-1].end_s
    answers: dict[str, float] = {}
    errors: dict[str, float] = {}
    for one in bins:
        share = (one.end_s - one.begin_s) / (end_s - begin_s)
        for region, rate in one.answers.items():
            answers[region] = answers.get(region, 0.0) + rate * share
        for kind, count in one.errors.items():
            errors[kind] = errors.get(kind, 0.0) + count
    p50s = [one.p50_ms for one in bins if one.p50_ms is not None]
    return Bin(
        begin_s,
        end_s,
        answers,
        errors,
        median(p50s) if p50s else None,
        max((one.p99_ms for one in bins if one.p99_ms is not None), default=None),
    )
