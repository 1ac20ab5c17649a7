"""A lane tells breaker, bulkhead and limit the same story, whatever becomes of a request."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from atoll.clock import ManualClock
from atoll.resilience.attempts import Failure
from atoll.resilience.breaker import Breaker, BreakerState, Permit
from atoll.resilience.bulkhead import Bulkhead
from atoll.resilience.criticality import Criticality
from atoll.resilience.gradient import AdaptiveLimit
from atoll.resilience.lane import BreakerOpen, Lane, NoPlace
from atoll.topology import BreakerPolicy, BulkheadPolicy

DEFAULT, SHEDDABLE = Criticality.DEFAULT, Criticality.SHEDDABLE
LOST = Failure("lost", sent=True)
REFUSED = Failure("full", sent=False, refused=True)


class NotedLimit(AdaptiveLimit):
    """Notes what it is told."""

    __slots__ = ("told",)

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock, 1)
        self.told: list[object] = []

    def sample(self, seconds: float, in_flight: int, ok: bool = True) -> None:
        self.told.append((seconds, ok))

    def turned_away(self, in_flight: int) -> None:
        self.told.append("turned away")


@dataclass
class Made:
    """A lane, and what it stands on."""

    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.limit = NotedLimit(self.clock)
        policy = BulkheadPolicy(default_share=1.0)
        self.breaker = Breaker(self.clock, BreakerPolicy(consecutive=2, open_s=5.0), lambda: None)
        self.bulkhead = Bulkhead(self.clock, policy, self.limit)
        self.lane = Lane(policy, self.limit, self.bulkhead, self.breaker)

    def enter(self) -> Permit:
        permit = self.lane.try_enter(DEFAULT)
        assert permit is not None
        return permit

    def trip(self) -> None:
        for _ in range(2):
            self.lane.failed(self.enter(), LOST, 0.1, DEFAULT)
        assert self.breaker.state is BreakerState.OPEN


@pytest.mark.parametrize(
    ("end", "failures", "told"),
    [
        (lambda lane, permit: lane.answered(permit, 200, 0.1), (1, 0), [(0.1, True)]),
        (lambda lane, permit: lane.answered(permit, 500, 0.1), (1, 0), [(0.1, True)]),
        (lambda lane, permit: lane.answered(permit, 503, 0.1), (1, 1), [(0.1, False)]),
        (lambda lane, permit: lane.failed(permit, LOST, 0.1, DEFAULT), (1, 1), [(0.1, False)]),
        (lambda lane, permit: lane.failed(permit, LOST, 0.1, DEFAULT, isolated=True), (0, 0), []),
        (lambda lane, permit: lane.failed(permit, REFUSED, 0.1, DEFAULT), (0, 0), []),
        (lambda lane, permit: lane.failed(permit, REFUSED, 0.1, DEFAULT, full=True), (0, 0), ["turned away"]),
        (lambda lane, permit: lane.failed(permit, REFUSED, 0.1, SHEDDABLE, full=True), (0, 0), []),
        (lambda lane, permit: lane.given_up(permit, 0.1), (0, 0), [(0.1, False)]),
    ],
)
def test_each_end_is_told_once_and_gives_the_place_back(
    end: Callable[[Lane, Permit], None], failures: tuple[int, int], told: list[object]
) -> None:
    made = Made()
    end(made.lane, made.enter())
    counted = made.breaker.statistics()
    assert (counted.outcomes, counted.failures) == failures
    assert made.limit.told == told
    assert made.lane.statistics().bulkhead.in_flight == 0


def test_an_answer_whose_body_is_on_its_way_keeps_its_place() -> None:
    made = Made()
    made.lane.answered(made.enter(), 200, 0.1, held=True)
    assert made.limit.told == [(0.1, True)]
    assert made.bulkhead.in_flight == 1
    made.lane.leave()
    assert made.bulkhead.in_flight == 0
    assert made.limit.told == [(0.1, True)]


async def test_only_who_can_go_nowhere_else_waits_for_a_place() -> None:
    made = Made()
    made.limit.cap(1)
    first = made.enter()
    assert made.lane.try_enter(DEFAULT) is None
    with pytest.raises(NoPlace):
        await made.lane.enter(DEFAULT, last_resort=False, remaining_s=10.0)
    waiting = asyncio.ensure_future(made.lane.enter(DEFAULT, last_resort=True, remaining_s=10.0))
    await asyncio.sleep(0)
    assert made.bulkhead.waiting == 1
    made.lane.answered(first, 200, 0.1)
    made.lane.answered(await waiting, 200, 0.1)
    assert made.bulkhead.in_flight == 0


async def test_nobody_waits_past_a_deadline() -> None:
    made = Made()
    made.limit.cap(1)
    made.enter()
    with pytest.raises(NoPlace):
        await made.lane.enter(DEFAULT, last_resort=True, remaining_s=0.0)
    assert made.bulkhead.waiting == 0


async def test_an_open_breaker_takes_no_place_and_lets_in_one_probe() -> None:
    made = Made()
    made.trip()
    assert made.lane.try_enter(DEFAULT) is None
    with pytest.raises(BreakerOpen) as refusal:
        await made.lane.enter(DEFAULT, last_resort=False, remaining_s=10.0)
    assert (refusal.value.refused, refusal.value.sent) == (True, False)
    assert refusal.value.retry_after_s is None, "it may come back once the others have been tried"
    assert made.bulkhead.in_flight == 0
    probe = await made.lane.enter(DEFAULT, last_resort=True, remaining_s=10.0)  # before its time
    with pytest.raises(BreakerOpen) as refusal:
        await made.lane.enter(DEFAULT, last_resort=True, remaining_s=0.01)
    assert refusal.value.retry_after_s is not None
    assert made.bulkhead.in_flight == 1
    made.lane.answered(probe, 200, 0.1)
    assert made.breaker.state is BreakerState.CLOSED
    made.lane.answered(made.enter(), 200, 0.1)


async def test_an_open_breaker_is_probed_when_its_time_is_over() -> None:
    made = Made()
    made.trip()
    made.clock.advance(5.0)
    probe = await made.lane.enter(DEFAULT, last_resort=False, remaining_s=10.0)
    made.lane.given_up(probe, 0.1)  # gives the permit back: the next one is a probe
    made.lane.answered(await made.lane.enter(DEFAULT, last_resort=False, remaining_s=10.0), 200, 0.1)
    assert made.breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("ok", [True, False])
async def test_who_can_go_nowhere_else_waits_for_what_becomes_of_the_probe(*, ok: bool) -> None:
    made = Made()
    made.trip()
    probe = await made.lane.enter(DEFAULT, last_resort=True, remaining_s=10.0)
    waiting = [
        asyncio.ensure_future(made.lane.enter(DEFAULT, last_resort=True, remaining_s=10.0)) for _ in range(3)
    ]
    await asyncio.sleep(0)
    assert not any(one.done() for one in waiting)
    if ok:
        made.lane.answered(probe, 200, 0.1)
    else:
        made.lane.failed(probe, LOST, 0.1, DEFAULT)
    for _ in range(3):
        await asyncio.sleep(0)
    let_in = [one for one in waiting if one.done()]
    assert len(let_in) == (3 if ok else 1), "one at a time"
    for one in waiting:
        one.cancel()
    await asyncio.wait(waiting)
    assert made.bulkhead.in_flight == len(let_in), "who leaves gives its place back"


async def test_a_probe_that_is_given_up_makes_room_for_the_next() -> None:
    made = Made()
    made.trip()
    probe = await made.lane.enter(DEFAULT, last_resort=True, remaining_s=10.0)
    waiting = asyncio.ensure_future(made.lane.enter(DEFAULT, last_resort=True, remaining_s=10.0))
    await asyncio.sleep(0)
    made.lane.given_up(probe, 0.1)
    made.lane.answered(await waiting, 200, 0.1)
    assert made.breaker.state is BreakerState.CLOSED


def test_the_limit_is_bounded_by_what_a_region_takes_and_by_what_it_is_to_be_given_at_least() -> None:
    made = Made()
    made.lane.bound(64, 32)
    for _ in range(64):
        made.enter()
    assert made.lane.try_enter(DEFAULT) is None
    made.limit._set(1.0)
    assert made.limit.limit == 32
    made.lane.bound(None, 0)
    made.limit._set(1.0)
    assert made.limit.limit == BulkheadPolicy().floor
    made.lane.bound(4, 32)
    assert made.limit.limit == 4, "what there is no room for can't be given"
