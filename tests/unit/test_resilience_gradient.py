"""The adaptive limit before a queueing server on a virtual clock: seeds are fixed and printed."""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

import pytest

from atoll.clock import ManualClock
from atoll.resilience.gradient import SAMPLES, START, WINDOW_S, AdaptiveLimit

FLOOR = 8

Draw = Callable[[Random], float]
"""Service time of a request, in units of the server's mean."""


class Limit(Protocol):
    limit: int

    def sample(self, seconds: float, in_flight: int, ok: bool = True) -> None: ...


@dataclass
class Fixed:
    """A limit set by hand: the control."""

    limit: int

    def sample(self, seconds: float, in_flight: int, ok: bool = True) -> None:
        pass


@dataclass
class Outcome:
    """What came of the second half of a run."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    rejected: int = 0

    @property
    def throughput(self) -> float:
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        return sorted(self.latencies)[int(len(self.latencies) * share)]


@dataclass
class Server:
    """So many workers with one queue in front, asked by Poisson arrivals through a limit."""

    clock: ManualClock
    random: Random
    limit: Limit
    workers: int
    mean_s: float
    draw: Draw
    in_flight: int = 0
    busy: int = 0
    queue: deque[float] = field(default_factory=deque)
    events: list[tuple[float, int, float | None]] = field(default_factory=list)
    order: "itertools.count[int]" = field(default_factory=itertools.count)

    def run(self, rate: float, seconds: float) -> Outcome:
        outcome = Outcome(seconds / 2)
        start, end = self.clock.now, self.clock.now + seconds
        self._at(start + self.random.expovariate(rate), None)
        while self.events[0][0] <= end:
            now, _, arrived = heapq.heappop(self.events)
            self.clock.now = now
            counts = now > start + seconds / 2
            if arrived is None:
                self._at(now + self.random.expovariate(rate), None)
                if self.in_flight < self.limit.limit:
                    self.in_flight += 1
                    self._serve(now)
                else:
                    outcome.rejected += counts
                continue
            self.limit.sample(now - arrived, self.in_flight)
            self.in_flight -= 1
            self.busy -= 1
            if counts:
                outcome.latencies.append(now - arrived)
            if self.queue:
                self._serve(self.queue.popleft())
        self.events = [event for event in self.events if event[2] is not None]
        heapq.heapify(self.events)
        return outcome

    def _serve(self, arrived: float) -> None:
        if self.busy < self.workers:
            self.busy += 1
            self._at(self.clock.now + self.mean_s * self.draw(self.random), arrived)
        else:
            self.queue.append(arrived)

    def _at(self, when: float, arrived: float | None) -> None:
        heapq.heappush(self.events, (when, next(self.order), arrived))


def even(_: Random) -> float:
    return 1.0


def exponential(random: Random) -> float:
    return random.expovariate(1.0)


def slow_and_fast(random: Random) -> float:
    """One endpoint takes fifty times as long as the other; the mean is 1."""
    return 4.6 if random.random() < 0.2 else 0.1


def server(limit: Limit, clock: ManualClock, draw: Draw, seed: int, workers: int = 20) -> Server:
    print(f"seed {seed}")
    return Server(clock, Random(seed), limit, workers, 0.01, draw)


CAPACITY = 2000.0
"""Requests a second of twenty workers at ten milliseconds."""


def filled(limit: AdaptiveLimit, clock: ManualClock, seconds: float, windows: int) -> None:
    """Windows in which the limit was used up and every request took so long."""
    for _ in range(windows):
        clock.advance(max(WINDOW_S, seconds) * 1.01)
        for _ in range(SAMPLES):
            limit.sample(seconds, limit.limit)


@pytest.mark.parametrize("draw", [even, exponential, slow_and_fast])
@pytest.mark.parametrize("warm", [True, False], ids=["after normal load", "from the start"])
def test_at_three_times_capacity_throughput_holds_and_latency_stays_bounded(draw: Draw, warm: bool) -> None:
    clock = ManualClock()
    asked = server(AdaptiveLimit(clock, FLOOR), clock, draw, seed=1)
    if warm:
        asked.run(0.5 * CAPACITY, 4.0)
    outcome = asked.run(3 * CAPACITY, 8.0)
    print(outcome.throughput, outcome.quantile(0.5), outcome.quantile(0.99))
    assert outcome.throughput > 0.85 * CAPACITY
    assert outcome.quantile(0.5) < 0.05
    assert outcome.quantile(0.99) < 0.12


def test_control_a_limit_set_too_high_by_hand_lets_latency_grow() -> None:
    clock = ManualClock()
    outcome = server(Fixed(1000), clock, even, seed=1).run(3 * CAPACITY, 8.0)
    assert outcome.quantile(0.5) > 0.4


def test_when_the_overload_is_over_nothing_is_refused_any_more() -> None:
    clock = ManualClock()
    asked = server(AdaptiveLimit(clock, FLOOR), clock, exponential, seed=2)
    asked.run(3 * CAPACITY, 4.0)
    outcome = asked.run(0.6 * CAPACITY, 4.0)
    assert outcome.rejected == 0


@pytest.mark.parametrize("seed", range(3))
def test_slow_and_fast_endpoints_are_no_overload(seed: int) -> None:
    clock = ManualClock()
    limit = AdaptiveLimit(clock, FLOOR)
    limit.cap(40)
    outcome = server(limit, clock, slow_and_fast, seed).run(0.7 * CAPACITY, 20.0)
    print(limit.statistics(), outcome.rejected, len(outcome.latencies))
    assert outcome.rejected < 0.01 * len(outcome.latencies)
    assert limit.limit > 20


class _Unforgiving(AdaptiveLimit):
    """A limit that never asks whether it came down in vain."""

    def _in_vain(self, recent: float) -> bool:
        return False


def _after_a_slower_version(limit: AdaptiveLimit, clock: ManualClock) -> tuple[float, int]:
    """A service with workers enough becomes four times as slow for good, with requests enough to use its limit."""
    limit.cap(80)
    asked = server(limit, clock, even, seed=3, workers=100)
    asked.run(1500, 3.0)
    asked.mean_s = 0.04
    outcome = asked.run(1500, 10.0)
    return outcome.throughput, outcome.rejected


def test_a_service_that_is_slower_for_good_gets_its_limit_back() -> None:
    clock = ManualClock()
    throughput, rejected = _after_a_slower_version(AdaptiveLimit(clock, FLOOR), clock)
    assert throughput > 1400
    assert rejected < 75


def test_control_without_asking_it_would_be_throttled_for_ever() -> None:
    clock = ManualClock()
    throughput, _ = _after_a_slower_version(_Unforgiving(clock, FLOOR), clock)
    assert throughput < 1300


def test_it_never_falls_below_the_floor_and_recovers_from_it() -> None:
    clock = ManualClock()
    limit = AdaptiveLimit(clock, FLOOR)
    filled(limit, clock, 0.001, 1)
    limit._before = None
    for step in range(40):
        filled(limit, clock, 0.002 * 1.5**step if step < 10 else 0.2, 1)
        assert limit.limit >= FLOOR
    filled(limit, clock, 0.001, 30)
    assert limit.limit > START


def test_a_floor_that_rises_lifts_the_limit_at_once_and_one_that_falls_lets_it_be() -> None:
    clock = ManualClock()
    limit = AdaptiveLimit(clock, FLOOR)
    told: list[int] = []
    limit.changed = lambda: told.append(limit.limit)
    limit.keep(2 * START)
    assert limit.limit == 2 * START
    limit.keep(FLOOR)
    assert limit.limit == 2 * START
    limit.cap(10)
    limit.keep(3 * START)
    assert limit.limit == 10
    assert told == [2 * START, 10]


def test_a_limit_that_is_not_used_does_not_move() -> None:
    clock = ManualClock()
    limit = AdaptiveLimit(clock, FLOOR)
    for seconds in (0.01, 0.01, 0.5, 2.0, 0.01):
        for _ in range(SAMPLES):
            clock.advance(0.1)
            limit.sample(seconds, START // 2)
    assert limit.limit == START


def test_the_cap_holds_at_once_and_is_forgotten_when_it_is_lifted() -> None:
    clock = ManualClock()
    limit = AdaptiveLimit(clock, FLOOR)
    told: list[int] = []
    limit.changed = lambda: told.append(limit.limit)
    limit.cap(4)
    assert limit.limit == 4  # the region knows better than the floor
    limit.cap(0)
    assert limit.limit == 1
    filled(limit, clock, 0.01, 5)
    assert limit.limit == 1
    limit.cap(None)
    assert limit.limit == START
    assert told == [4, 1, START]


def test_the_limit_grows_to_its_cap_and_not_beyond() -> None:
    clock = ManualClock()
    limit = AdaptiveLimit(clock, FLOOR)
    limit.cap(300)
    filled(limit, clock, 0.01, 50)
    assert limit.limit == 300
    limit.cap(None)
    assert limit.limit <= 600


def test_refusals_of_the_far_side_lower_it() -> None:
    clock = ManualClock()
    limit = AdaptiveLimit(clock, FLOOR)
    filled(limit, clock, 0.01, 2)
    before = limit.limit
    for _ in range(40):
        clock.advance(WINDOW_S)
        for _ in range(SAMPLES):
            limit.turned_away(limit.limit)
    assert FLOOR <= limit.limit < before / 4


def test_a_quick_failure_teaches_nothing_a_slow_one_that_it_is_slow() -> None:
    clock = ManualClock()
    limit = AdaptiveLimit(clock, FLOOR)
    filled(limit, clock, 0.1, 1)
    usual = limit.statistics().usual_s
    for _ in range(10 * SAMPLES):
        clock.advance(0.01)
        limit.sample(0.0001, limit.limit, ok=False)
    assert limit.statistics().usual_s == usual
    before = limit.limit
    for _ in range(4 * SAMPLES):
        clock.advance(0.1)
        limit.sample(5.0, limit.limit, ok=False)
    assert limit.limit < before


def test_it_is_reckoned_once_a_window_however_many_requests_there_are() -> None:
    clock = ManualClock()
    limit = AdaptiveLimit(clock, FLOOR)
    filled(limit, clock, 0.01, 1)
    told: list[int] = []
    limit.changed = lambda: told.append(limit.limit)
    clock.advance(WINDOW_S)
    for _ in range(1000):
        clock.advance(WINDOW_S / 2000)
        limit.sample(0.01, limit.limit)
    assert len(told) == 1
