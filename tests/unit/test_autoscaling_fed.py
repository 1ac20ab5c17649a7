"""The gateway's own limit leaves Serve enough to see: an overloaded service grows, and without that floor it does not.

The loop of three: a limit that comes down when requests queue up, replicas that share their processor among what they
work on, and Serve's rule, which wants as many replicas as there are requests in flight / target, if that lasts.
"""

from collections import deque
from math import ceil

from atoll.clock import ManualClock
from atoll.resilience.breaker import Breaker
from atoll.resilience.bulkhead import Bulkhead
from atoll.resilience.gradient import AdaptiveLimit
from atoll.resilience.lane import Lane
from atoll.topology import BreakerPolicy, BulkheadPolicy, Replicas

REPLICAS = Replicas(minimum=1, maximum=4, target_in_flight=16, max_in_flight=64)
STEP_S = 0.1
EACH_S = 0.01
"""Processor time of a request: a replica does a hundred a second, however many it works on at once."""
LOOK_BACK = round(3.0 / STEP_S)
START_S = 5.0


def replicas_under_overload(overload: float, seconds: float, *, fed: bool) -> int:
    """Replicas in the end, when `overload` times what one replica can do is asked of it for so long."""
    clock = ManualClock()
    policy = BulkheadPolicy()
    limit = AdaptiveLimit(clock, policy.floor)
    bulkhead = Bulkhead(clock, policy, limit)
    lane = Lane(policy, limit, bulkhead, Breaker(clock, BreakerPolicy(), lambda: None))
    running, asked_since = 1, None
    starting: list[tuple[float, int]] = []
    seen: deque[float] = deque(maxlen=LOOK_BACK)
    wanting = 0.0
    for _ in range(round(seconds / STEP_S)):
        capacity = running * REPLICAS.max_in_flight
        lane.bound(capacity, REPLICAS.asking(capacity) if fed else 0)
        rate = (0.3 if clock.now < 5.0 else overload) / EACH_S
        done = min(rate, running / EACH_S) * STEP_S
        # What can't be done piles up, as far as there are places for it.
        places = policy.default_share * limit.limit
        wanting = min(places, max(rate * EACH_S, wanting + (rate - running / EACH_S) * STEP_S))
        takes_s = max(EACH_S, wanting / running * EACH_S)
        for _ in range(max(1, round(done))):
            limit.sample(takes_s, ceil(wanting))
        seen.append(wanting)
        wanted = min(REPLICAS.maximum, ceil(sum(seen) / len(seen) / REPLICAS.target_in_flight))
        target = running + sum(count for _, count in starting)
        if wanted <= target:
            asked_since = None
        elif asked_since is None:
            asked_since = clock.now
        elif clock.now - asked_since >= 1.0:
            starting.append((clock.now + START_S, wanted - target))
            asked_since = None
        clock.advance(STEP_S)
        running += sum(count for at, count in starting if at <= clock.now)
        starting = [(at, count) for at, count in starting if at > clock.now]
    return running


def test_an_overloaded_service_grows_to_what_it_needs() -> None:
    assert replicas_under_overload(1.5, 40.0, fed=True) >= 2
    assert replicas_under_overload(2.5, 40.0, fed=True) >= 3
    assert replicas_under_overload(3.5, 40.0, fed=True) == REPLICAS.maximum


def test_a_control_held_back_by_the_gateway_it_stays_smaller_than_it_needs_to_be() -> None:
    assert replicas_under_overload(2.5, 40.0, fed=False) < 2.5
    assert replicas_under_overload(3.5, 40.0, fed=False) < 3.5
