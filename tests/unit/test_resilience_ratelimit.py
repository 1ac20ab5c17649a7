from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.clock import ManualClock
from atoll.resilience.ratelimit import DEBT_S, RateLimit
from atoll.topology import Rate

RATES = st.builds(Rate, per_s=st.floats(0.05, 5000.0), burst=st.integers(1, 200))


def limit(per_s: float = 10.0, burst: int = 5, *, shared: bool = False, most_keys: int = 100) -> RateLimit:
    return RateLimit(ManualClock(100.0), Rate(per_s, burst), shared=shared, most_keys=most_keys)


def advance(tried: RateLimit, seconds: float) -> None:
    clock = tried._clock
    assert isinstance(clock, ManualClock)
    clock.advance(seconds)


def admitted(tried: RateLimit, key: str, count: int) -> int:
    return sum(tried.take(key) == 0.0 for _ in range(count))


def test_a_burst_at_once_and_then_the_rate() -> None:
    tried = limit(per_s=10.0, burst=5)
    assert admitted(tried, "a", 20) == 5
    advance(tried, 0.1)
    assert admitted(tried, "a", 20) == 1
    advance(tried, 0.35)
    assert admitted(tried, "a", 20) == 3
    advance(tried, 100.0)
    assert admitted(tried, "a", 20) == 5


def test_keys_have_nothing_to_do_with_each_other() -> None:
    tried = limit(burst=5)
    assert admitted(tried, "a", 20) == 5
    assert admitted(tried, "b", 20) == 5


@given(rate=RATES, steps=st.lists(st.tuples(st.floats(0.0, 2.0), st.integers(1, 30)), max_size=40))
def test_no_interval_of_any_length_has_more_than_its_rate_and_one_burst(
    rate: Rate, steps: list[tuple[float, int]]
) -> None:
    clock = ManualClock(50.0)
    tried = RateLimit(clock, rate)
    times: list[float] = []
    for pause, count in steps:
        clock.advance(pause)
        times += [clock.now] * admitted(tried, "a", count)
    for first, start in enumerate(times):
        for last, end in enumerate(times[first:], first):
            assert last - first + 1 <= rate.burst + rate.per_s * (end - start) + 1e-3


@given(rate=RATES, seed=st.integers(0, 1000))
def test_whoever_keeps_to_the_rate_is_never_refused(rate: Rate, seed: int) -> None:
    clock = ManualClock(50.0)
    tried = RateLimit(clock, rate)
    random = Random(seed)
    for _ in range(50):
        assert tried.take("a") == 0.0
        clock.advance((1.0 + random.random()) / rate.per_s)


@given(rate=RATES)
def test_the_wait_that_it_names_is_the_right_one(rate: Rate) -> None:
    clock = ManualClock(50.0)
    tried = RateLimit(clock, rate)
    while (wait := tried.take("a")) == 0.0:
        pass
    clock.advance(wait * 0.99)
    assert tried.take("a") > 0.0
    clock.advance(wait * 0.01 + 1e-6)
    assert tried.take("a") == 0.0


@given(rate=RATES, used=st.integers(0, 250), later=st.floats(0.0, 5.0))
def test_what_is_said_to_be_left_is_what_is_admitted(rate: Rate, used: int, later: float) -> None:
    clock = ManualClock(50.0)
    tried = RateLimit(clock, rate)
    admitted(tried, "a", used)
    clock.advance(later)
    left, full_in = tried.left("a")
    assert admitted(tried, "a", left) == left
    clock.advance(full_in + 2.0 / rate.per_s * rate.burst)
    assert tried.left("a") == (rate.burst, 0)


def test_a_request_that_another_limit_refused_can_be_given_back() -> None:
    tried = limit(burst=2)
    for _ in range(10):
        assert tried.take("a") == 0.0
        tried.give_back("a")
    assert tried.left("a")[0] == 2
    assert tried.statistics().admitted == 0


def test_what_others_admitted_counts_here() -> None:
    tried = limit(per_s=10.0, burst=5)
    tried.charge("a", 4)
    assert admitted(tried, "a", 20) == 1
    assert tried.statistics().charged == 4


def test_a_charge_blocks_nobody_for_long() -> None:
    tried = limit(per_s=10.0, burst=5)
    tried.charge("a", 1_000_000)
    assert admitted(tried, "a", 1) == 0
    advance(tried, DEBT_S + 0.11)
    assert admitted(tried, "a", 1) == 1


def test_what_was_used_is_told_once_and_keys_that_were_only_refused_are_named() -> None:
    tried = limit(burst=2, shared=True)
    admitted(tried, "a", 5)
    admitted(tried, "b", 1)
    assert tried.collect() == {"a": 2, "b": 1}
    assert tried.collect() == {}
    admitted(tried, "a", 5)
    assert tried.collect() == {"a": 0}


def test_nobody_notes_what_nobody_collects() -> None:
    tried = limit()
    admitted(tried, "a", 5)
    assert tried.collect() == {}


def test_memory_is_bounded_and_idle_keys_go_first() -> None:
    tried = limit(per_s=1.0, burst=3, most_keys=100)
    for number in range(90):
        tried.take(f"idle-{number}")
    advance(tried, 10.0)
    assert admitted(tried, "busy", 3) == 3
    for number in range(1000):
        tried.take(f"other-{number}") if number < 50 else None
        assert tried.statistics().keys <= 100
    assert admitted(tried, "busy", 1) == 0  # its use has not been forgotten
    for number in range(10_000):
        tried.take(f"attacker-{number}")
        assert tried.statistics().keys <= 100


def _flood_two(settle: bool, seconds: float = 10.0) -> float:
    """What two gateways admit of a client that floods both, as a share of its rate. They settle five times a second."""
    clock = ManualClock(50.0)
    rate = Rate(100.0, 20)
    gateways = [RateLimit(clock, rate, shared=True) for _ in range(2)]
    passed = 0
    for step in range(int(seconds * 1000)):
        clock.advance(0.001)
        passed += sum(gateway.take("a") == 0.0 for gateway in gateways)
        if settle and step % 200 == 0:
            used = [gateway.collect().get("a", 0) for gateway in gateways]
            gateways[0].charge("a", used[1])
            gateways[1].charge("a", used[0])
    return passed / (rate.per_s * seconds + rate.burst)


def test_two_gateways_that_settle_admit_about_one_limit() -> None:
    assert 0.9 < _flood_two(settle=True) < 1.1


def test_control_two_that_do_not_admit_two() -> None:
    assert _flood_two(settle=False) == pytest.approx(2.0, abs=0.1)
