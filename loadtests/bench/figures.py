"""From runs to figures: medians, ratios of runs that stood side by side, and verdicts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from loadtests.bench.wrk import Load

DIRECT = "upstream"
"""The subject that is the upstream itself: what a proxy adds is counted from it."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians over the rounds."""

    subject: str
    connections: int
    requests_per_s: float
    requests_per_cpu_s: float
    p50_us: float
    p99_us: float
    added_p50_us: float
    """The median of what each round's p50 is above the upstream's own in that round."""
    errors: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """A subject against another one: the median of the rounds' ratios. Above 1 the subject is the better one."""

    subject: str
    against: str
    connections: int
    throughput: float
    cpu: float
    """Requests per second of processor time."""
    added_p50: float
    """The other one's added p50 by the subject's."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One aim and what was reached."""

    aim: str
    wanted: float
    reached: float

    @property
    def passed(self) -> bool:
        return self.reached >= self.wanted


def summaries(loads: Sequence[Load]) -> list[Summary]:
    """One for each subject and number of connections, in the order in which they first ran."""
    keys = dict.fromkeys((load.connections, load.subject) for load in loads)
    return [
        _summary(loads, subject, connections) for connections, subject in sorted(keys, key=lambda key: key[0])
    ]


def _summary(loads: Sequence[Load], subject: str, connections: int) -> Summary:
    mine = list(_of(loads, subject, connections))
    return Summary(
        subject=subject,
        connections=connections,
        requests_per_s=median(load.requests_per_s for load in mine),
        requests_per_cpu_s=median(load.requests_per_cpu_s for load in mine),
        p50_us=median(load.p50_us for load in mine),
        p99_us=median(load.p99_us for load in mine),
        added_p50_us=median(_added(loads, load) for load in mine),
        errors=sum(load.errors for load in mine),
    )


def ratios(loads: Sequence[Load], subjects: Iterable[str], against: str) -> list[Ratio]:
    """Each subject against another one, at each number of connections; only where both ran."""
    found = []
    for subject in subjects:
        for connections in sorted({load.connections for load in loads}):
            pairs = [
                (mine, other)
                for mine in _of(loads, subject, connections)
                for other in _of(loads, against, connections)
                if mine.round == other.round
            ]
            if pairs:
                found.append(
                    Ratio(
                        subject=subject,
                        against=against,
                        connections=connections,
                        throughput=median(
                            _by(mine.requests_per_s, other.requests_per_s) for mine, other in pairs
                        ),
                        cpu=median(
                            _by(mine.requests_per_cpu_s, other.requests_per_cpu_s) for mine, other in pairs
                        ),
                        added_p50=median(
                            _by(_added(loads, other), _added(loads, mine)) for mine, other in pairs
                        ),
                    )
                )
    return found


def verdicts(found: Iterable[Ratio]) -> list[Verdict]:
    """The four aims beside Envoy: throughput at 32 connections and added p50 at one, forwarding alone and whole."""
    by_key = {(ratio.subject, ratio.connections): ratio for ratio in found if ratio.against == "envoy"}
    verdicts = []
    for subject, name in (("forwarding", "forwarding alone"), ("gateway", "all layers on")):
        if (ratio := by_key.get((subject, 32))) is not None:
            verdicts.append(
                Verdict(f"throughput at 32 connections by Envoy's, {name}", 1.0, ratio.throughput)
            )
        if (ratio := by_key.get((subject, 1))) is not None:
            verdicts.append(
                Verdict(f"Envoy's added p50 at 1 connection by Atoll's, {name}", 1.0, ratio.added_p50)
            )
    return verdicts


def _of(loads: Iterable[Load], subject: str, connections: int) -> Iterable[Load]:
    return (load for load in loads if load.subject == subject and load.connections == connections)


def _added(loads: Sequence[Load], load: Load) -> float:
    """What the p50 of a run is above the upstream's own in the same round; all of it if that was not measured."""
    direct = [other.p50_us for other in _of(loads, DIRECT, load.connections) if other.round == load.round]
    return load.p50_us - direct[0] if direct else load.p50_us


def _by(dividend: float, divisor: float) -> float:
    return dividend / divisor if divisor > 0.0 else 0.0
