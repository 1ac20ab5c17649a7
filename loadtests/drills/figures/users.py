"""What a group of users got: errors, availability, latency."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from loadtests.drills.record import Request


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from when a request was due to its end, of those that succeeded; None where there was none.

    The rest are errors and counted as such, so that failing fast makes no latency better.
    """

    p50_s: float | None
    p90_s: float | None
    p99_s: float | None
    p999_s: float | None
    max_s: float | None


@dataclass(frozen=True, slots=True)
class UserFigures:
    """One group of users in one phase."""

    requests: int
    replayable: int
    """Requests that Atoll may send twice."""
    errors: int
    errors_replayable: int
    errors_by_kind: Mapping[str, int]
    """The most frequent kind first."""
    goodput_per_s: float | None
    """Answers a second while they are looked for; None if that is no time."""
    latency: Latency
    tries: float | None
    """Requests for each one that users wanted: above 1 they retry by themselves."""

    @property
    def availability(self) -> float | None:
        return 1.0 - self.errors / self.requests if self.requests else None


def user_figures(requests: Sequence[Request], begin_s: float, end_s: float) -> UserFigures:
    """Of the requests of a phase, in which answers are looked for from `begin_s` to `end_s`."""
    failed = [request for request in requests if request.failed]
    good = sum(not request.failed and begin_s <= request.ended_s < end_s for request in requests)
    first = sum(request.tries == 1 for request in requests)
    return UserFigures(
        requests=len(requests),
        replayable=sum(request.replayable for request in requests),
        errors=len(failed),
        errors_replayable=sum(request.replayable for request in failed),
        errors_by_kind=dict(Counter(request.error for request in failed).most_common()),
        goodput_per_s=good / (end_s - begin_s) if end_s > begin_s else None,
        latency=latency(requests),
        tries=len(requests) / first if first else None,
    )


def latency(requests: Iterable[Request]) -> Latency:
    """Of those that succeeded."""
    ordered = sorted(request.seconds for request in requests if not request.failed)
    return Latency(
        p50_s=percentile(ordered, 0.5),
        p90_s=percentile(ordered, 0.9),
        p99_s=percentile(ordered, 0.99),
        p999_s=percentile(ordered, 0.999),
        max_s=ordered[-1] if ordered else None,
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of all values does not exceed (nearest rank); None of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
