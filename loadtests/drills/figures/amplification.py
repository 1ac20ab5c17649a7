"""How much more work a fault makes: attempts to requests.

Only requests whose attempts are known count: those that a gateway let in and answered.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from loadtests.drills.record import Request, Way

WINDOW_S = 10.0
RATIO = 1.2
FLOOR = 30.0
"""Attempts above a fifth that a service and gateway may have in 10 s: the floor of the default retry budget, 3 a second
(`atoll.topology.RetryPolicy`)."""


def amplification(requests: Iterable[Request]) -> float | None:
    """Attempts for each request that was let in; None if none was."""
    attempts = [request.attempts for request in requests if request.attempts > 0]
    return sum(attempts) / len(attempts) if attempts else None


def worst(requests: Iterable[Request]) -> float | None:
    """The highest amplification over any 10 s; None if no request was let in.

    Without the floor that a budget has: where few requests come, this may be high and all is well.
    """
    return max((attempts / count for attempts, count in _windows(_admitted(requests))), default=None)


def over_budget(requests: Iterable[Request], regions: int) -> float | None:
    """By how many attempts any 10 s of any service were above 1.2 times its requests and the floor; 0 or less holds.

    Users know when a request was sent and when it ended, and that its attempts lie between. So what counts is what is
    certain: attempts that can't lie outside the 10 s, against all requests that may have been let in then.

    Each gateway where requests enter has a budget of its own for each service: the entry, and with users that follow
    DNS one gateway in each of so many `regions`.
    """
    admitted = sorted(_admitted(requests), key=lambda request: request.service)
    ways = {request.way for request in admitted}
    gateways = (Way.ENTRY in ways) + (regions if Way.DNS in ways else 0)
    return max(
        (
            certain - (RATIO - 1.0) * possible - FLOOR * gateways
            for _, one in groupby(admitted, key=lambda request: request.service)
            for certain, possible in _further(list(one))
        ),
        default=None,
    )


def _further(requests: Sequence[Request]) -> Iterator[tuple[int, int]]:
    """For the 10 s up to the end of each request with further attempts: how many of these lie in them, and how many
    requests may have been let in during the 10 s up to the last one. First, a time without any.
    """
    yield 0, 0
    ended = sorted(requests, key=lambda request: request.ended_s)
    ends = [request.ended_s for request in ended]
    sent = sorted(request.sent_s for request in requests)
    for number, last in enumerate(ended, 1):
        if last.attempts == 1:  # the last further attempt may have been long before this request
            continue
        since_s = last.ended_s - WINDOW_S
        inside = ended[bisect_right(ends, since_s) : number]
        certain = sum(request.attempts - 1 for request in inside if request.sent_s >= since_s)
        yield certain, bisect_right(sent, last.ended_s) - bisect_left(ends, last.sent_s - WINDOW_S)


def _admitted(requests: Iterable[Request]) -> list[Request]:
    return [request for request in requests if request.attempts > 0]


def _windows(requests: Sequence[Request]) -> Iterable[tuple[int, int]]:
    """Attempts and requests of the 10 s that end with each request, by when they were sent."""
    ordered = sorted(requests, key=lambda request: request.sent_s)
    first = attempts = 0
    for number, request in enumerate(ordered):
        attempts += request.attempts
        while ordered[first].sent_s <= request.sent_s - WINDOW_S:
            attempts -= ordered[first].attempts
            first += 1
        yield attempts, number - first + 1
