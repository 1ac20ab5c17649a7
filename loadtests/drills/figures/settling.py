"""How long users felt a fault, and how long the heal took to be felt.

All moments are those at which requests were due: who comes later feels nothing any more.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from loadtests.drills.record import Request

WINDOW_S = 0.5
LEAST = 20
"""A window is as much longer as it needs to have so many requests: the p99 of five would be any one that was late."""
STRAGGLERS = 1
"""So many slow requests of a window are chance, besides one in a hundred: what a p99 leaves out."""
FACTOR = 2.0
SLACK_S = 0.25
"""Slow is what took longer than `FACTOR` times the steady p99 and this: one attempt in vain, and a longer way from then
on (the longest round trip between two regions of `local.toml` is 232 ms)."""
QUIET_S = 1.0
"""Trouble this shortly before the end has not ended."""
BACK = 1 / 3
"""A region is back when it has this part of the share that it had before."""
SURE = 90.0
"""Requests (times (1 - p) / p, for a share of p) over which a share is looked at. Requests of a visit come from one
place, three or four of them, so these are worth 25: then `BACK` of the share is over three standard deviations away
from it, and chance hardly looks like a region that is gone."""
COUNTS = 0.05
"""Regions with a smaller share before are not waited for: the drill is over before they can be told from chance."""
LOST = 0.5
"""Nor those that kept more than this part of their share while the fault lasted: they have nothing to come back to."""

NEVER = math.inf
"""It did not happen as long as anybody looked."""


def slow_s(steady_p99_s: float) -> float:
    """What takes longer is slow."""
    return FACTOR * steady_p99_s + SLACK_S


def last_error_s(felt: Iterable[Request], fault_s: float) -> float | None:
    """From the fault until its last error reached a user; 0 if there was none, None if nobody came.

    `felt` are the requests of the phase during the fault. Unlike all else here this counts to the end of the request:
    how long somebody still waited for an error.
    """
    felt = list(felt)
    if not felt:
        return None
    return max((request.ended_s - fault_s for request in felt if request.failed), default=0.0)


def settled_s(requests: Sequence[Request], fault_s: float, heal_s: float, bound_s: float) -> float | None:
    """From the fault until the first moment from which, up to the heal, no request fails and no window is slow.

    A window is `WINDOW_S` long, or as long as `LEAST` requests take; it is slow if more than `STRAGGLERS` and one in a
    hundred of its requests took more than `bound_s`. `NEVER` if it was still so in the last `QUIET_S`; None if nobody
    came. `requests` are in the order of when they were due.
    """
    came = _due(requests, fault_s, heal_s)
    if not came:
        return None
    return _since(_troubles(came, bound_s), fault_s, heal_s)


def lost(before: Mapping[str, float], during: Mapping[str, float]) -> Mapping[str, float]:
    """Region -> the share that it had before, of those that the fault took it from."""
    return {
        name: share
        for name, share in before.items()
        if share >= COUNTS and during.get(name, 0.0) < LOST * share
    }


def recovered_s(
    requests: Sequence[Request], shares: Mapping[str, float], heal_s: float, end_s: float
) -> float | None:
    """From the heal until no request failed any more and each region of `shares` had its share again.

    A share is looked at over so many requests that it can be told from chance, about 200 for one of three regions. A
    region is back at the moment from which it must have its whole share so that the last window in which it was under
    `BACK` of that is so. `NEVER` if this window, or an error, is at the end; None if nobody came.
    """
    came = _due(requests, heal_s, end_s)
    if not came:
        return None
    answered = [
        request for request in _due(requests, -math.inf, end_s) if not request.failed and request.region
    ]
    moments = [_since([request.due_s for request in came if request.failed], heal_s, end_s)]
    moments += [
        _back_s(answered, region, share, heal_s) for region, share in shares.items() if share >= COUNTS
    ]
    return max(moments)


def _due(requests: Sequence[Request], begin_s: float, end_s: float) -> Sequence[Request]:
    low = bisect_left(requests, begin_s, key=lambda request: request.due_s)
    high = bisect_left(requests, end_s, key=lambda request: request.due_s)
    return requests[low:high]


def _since(troubles: Sequence[float], begin_s: float, end_s: float) -> float:
    if not troubles:
        return 0.0
    last = max(troubles)
    return NEVER if last > end_s - QUIET_S else last - begin_s


def _troubles(came: Sequence[Request], bound_s: float) -> list[float]:
    """When those were due that failed, or were slow and not alone so."""
    troubles = [request.due_s for request in came if request.failed]
    slow = [number for number, one in enumerate(came) if not one.failed and one.seconds > bound_s]
    dues = [request.due_s for request in came]
    for place, first in enumerate(slow):
        end = max(bisect_left(dues, dues[first] + WINDOW_S), min(first + LEAST, len(came)))
        inside = slow[place : bisect_left(slow, end)]
        if len(inside) > STRAGGLERS + (end - first) // 100:
            troubles.append(dues[inside[-1]])
    return troubles


def _back_s(answered: Sequence[Request], region: str, share: float, heal_s: float) -> float:
    """When a region was back, by the last window that ended after the heal and in which it had too little; 0 if there
    was none. Windows begin before the heal as well, or an absence shorter than one would not be seen.
    """
    size = min(len(answered), max(LEAST, math.ceil(SURE * (1.0 - share) / share)))
    if not size:
        return NEVER
    mine = [one.region == region for one in answered]
    inside = sum(mine[:size])
    least = BACK * share * size
    last = None
    for end in range(size, len(answered) + 1):
        if inside < least and answered[end - 1].due_s >= heal_s:
            last = end
        if end < len(answered):
            inside += mine[end] - mine[end - size]
    if last is None:
        return 0.0
    if last == len(answered):
        return NEVER
    begin_s, end_s = answered[last - size].due_s, answered[last - 1].due_s
    return max(0.0, end_s - BACK * (end_s - begin_s) - heal_s)
