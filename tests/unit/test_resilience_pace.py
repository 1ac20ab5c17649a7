"""A region that has become slower than others is told from requests that have become heavier."""

import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.attempts import Bench, Request, Response, Step

from atoll.clock import ManualClock
from atoll.resilience import pace
from atoll.resilience.pace import ATTEMPTS, DECIDED, PAUSE_S, TRIAL_S, Behind, Pace

NORMAL_S = 0.03


def races(one: Pace, attempts: int, due: int, lost: int) -> None:
    """So many attempts, of which so many become due and all of these are hedged."""
    one.attempts += attempts
    for _ in range(due):
        one.due()
    for _ in range(due - lost):
        one.kept_up()
    for _ in range(lost):
        one.lost("b", 0.05)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_a_verdict_needs_enough_of_everything(attempts: int, due: int, lost: int) -> None:
    due = min(due, attempts)
    lost = min(lost, due)
    one = Pace(ManualClock())
    races(one, attempts, due, lost)
    slow = attempts >= ATTEMPTS and due > 0.25 * attempts and due >= DECIDED and lost > 0.7 * due
    assert one.behind == (Behind("b", 0.05) if slow else None)
    assert one.usual is not slow


def test_what_is_older_than_the_window_does_not_count() -> None:
    clock = ManualClock()
    one = Pace(clock)
    races(one, 1000, 50, 0)
    clock.advance(2 * pace.SLICE_S)
    races(one, 1, 1, 1)
    races(one, 30, 20, 20)
    assert one.behind is not None
    other = Pace(clock)
    races(other, 1000, 50, 0)
    assert other.behind is None
    clock.advance(0.5)
    races(other, 30, 20, 20)
    assert other.behind is None


def slow_until_tried(one: Pace, clock: ManualClock) -> float:
    """For how long the region is passed over."""
    began = clock.now
    while (behind := one.behind) is not None and not behind.tried_again:
        clock.advance(0.25)
    return clock.now - began


def test_a_region_that_stays_slow_is_tried_ever_more_rarely() -> None:
    clock = ManualClock()
    one = Pace(clock)
    pauses = []
    for _ in range(6):
        races(one, 30, 20, 20)
        assert one.behind == Behind("b", 0.05)
        races(one, 30, 20, 20)  # those that were under way
        pauses.append(slow_until_tried(one, clock))
        assert one.behind == Behind("b", 0.05, tried_again=True)
        assert not one.usual, "what it takes while it is tried says nothing of what is usual"
        clock.advance(1.0)
    assert pauses == [PAUSE_S, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_a_trial_without_hedges_says_nothing() -> None:
    """The budget may be spent; then it shows only that attempts take long."""
    clock = ManualClock()
    one = Pace(clock)
    races(one, 30, 20, 20)
    slow_until_tried(one, clock)
    one.attempts += 100
    for _ in range(100):
        one.due()
    clock.advance(2 * TRIAL_S)
    assert one.behind is not None and not one.usual
    for _ in range(DECIDED):
        one.kept_up()
    assert one.behind is None and one.usual, "all requests have become heavier meanwhile"


def test_a_region_that_keeps_up_when_tried_is_as_others() -> None:
    clock = ManualClock()
    one = Pace(clock)
    races(one, 30, 20, 20)
    slow_until_tried(one, clock)
    races(one, ATTEMPTS - 1, 1, 0)
    clock.advance(TRIAL_S)
    assert one.behind is not None, "too few to say"
    races(one, 1, 0, 0)
    assert one.behind is None
    assert one.usual
    clock.advance(100.0)
    races(one, 1, 1, 1)
    races(one, 30, 20, 20)
    assert slow_until_tried(one, clock) == PAUSE_S, "long ago: the pause begins afresh"


class Load:
    """A hundred requests a second for one service in two regions, on virtual time."""

    def __init__(self, seconds: Callable[[Request, str, float], float], seed: int) -> None:
        """`seconds` is how long a region takes for a request that comes in at some time."""
        self.bench = Bench({"a": [Step()], "b": [Step()]}, seed=seed)
        self.seconds = seconds
        self.bench.attempts.send = self.send
        self.verdicts: list[float] = []

    async def send(self, request: Request, region: str) -> Response:
        await asyncio.sleep(self.seconds(request, region, self.bench.clock.now))
        request.attempts_made += 1
        return Response(region, 200)

    async def run(self, seconds: float, rate: int = 100) -> None:
        running: list[asyncio.Task[Response]] = []
        for _ in range(int(seconds * rate)):
            running.append(asyncio.create_task(self.bench.ask(regions=("a", "b"))))
            await asyncio.sleep(1 / rate)
            if self.bench.attempts.behind("a") is not None:
                self.verdicts.append(self.bench.clock.now)
        await asyncio.gather(*running)


def drawn(chance: random.Random) -> float:
    return NORMAL_S * chance.lognormvariate(0.0, 0.4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [20, 100])
def test_a_region_that_has_become_ten_times_slower_is_found_within_seconds(seed: int, rate: int) -> None:
    chance = random.Random(seed)

    def seconds(_: Request, region: str, now: float) -> float:
        return drawn(chance) * (10 if region == "a" and now >= 20.0 else 1)

    load = Load(seconds, seed)
    load.bench.run(load.run(30.0, rate))
    assert load.verdicts, f"seed {seed}"
    assert 20.0 < load.verdicts[0] < 20.0 + (3.0 if rate == 20 else 1.5), f"seed {seed}"
    statistics = load.bench.attempts.statistics()
    assert statistics.behind["a"].rival == "b"
    assert statistics.hedged_after_s["a"] < 5 * NORMAL_S, "what is usual stays what it was"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weighs", [True, False])
def test_requests_that_have_become_heavier_everywhere_say_nothing_of_a_region(
    seed: int, *, weighs: bool
) -> None:
    """Whether what a request takes is its own, or chance."""
    chance = random.Random(seed)
    weights: dict[int, float] = {}

    def seconds(request: Request, _: str, now: float) -> float:
        factor = 10 if now >= 20.0 else 1
        return factor * (weights.setdefault(id(request), drawn(chance)) if weighs else drawn(chance))

    load = Load(seconds, seed)
    load.bench.run(load.run(40.0))
    assert not load.verdicts, f"seed {seed}"


def test_without_verdicts_what_is_slow_becomes_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """A control: this is why p95 alone does not leave a slow region."""
    monkeypatch.setattr(pace, "LOST_SHARE", 2.0)
    chance = random.Random(1)

    def seconds(_: Request, region: str, now: float) -> float:
        return drawn(chance) * (10 if region == "a" and now >= 20.0 else 1)

    load = Load(seconds, 1)
    load.bench.run(load.run(30.0))
    assert not load.verdicts
    assert load.bench.attempts.statistics().hedged_after_s["a"] > 5 * NORMAL_S


def test_a_region_that_is_further_than_it_is_slow_stays() -> None:
    """A hedge's way counts: what is slower than usual may still be the fastest there is."""
    chance = random.Random(1)

    def seconds(_: Request, region: str, now: float) -> float:
        return drawn(chance) * 5 if region == "a" and now >= 20.0 else drawn(chance) + 0.3 * (region == "b")

    load = Load(seconds, 1)
    load.bench.run(load.run(30.0))
    assert not load.verdicts
