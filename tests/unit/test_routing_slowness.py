"""When the way to a region counts as slow."""

import random

import pytest

from atoll.clock import ManualClock
from atoll.resilience.pace import Behind
from atoll.routing.slowness import LOOKS, Slowness, behind_ms

LOOK_S = 0.5


def look(clock: ManualClock, slowness: Slowness, seconds: float, looks: int = 1) -> list[float]:
    seen = []
    for _ in range(looks):
        clock.advance(LOOK_S)
        slowness.look(seconds)
        seen.append(slowness.delay_ms)
    return seen


def test_ten_times_the_latency_is_known_at_the_third_look() -> None:
    clock = ManualClock()
    link = Slowness(clock, 0.074)
    assert look(clock, link, 0.074, 20) == [0.0] * 20
    *before, known = look(clock, link, 0.74, LOOKS)
    assert before == [0.0] * (LOOKS - 1)
    assert known == pytest.approx(666, abs=10)
    assert look(clock, link, 0.074, LOOKS)[-1] == 0.0, "and its end as well"


def test_one_look_that_is_off_says_nothing() -> None:
    clock = ManualClock()
    link = Slowness(clock, 0.01)
    for _ in range(50):
        assert look(clock, link, 0.9, LOOKS - 1) == [0.0] * (LOOKS - 1)
        assert look(clock, link, 0.012) == [0.0]


@pytest.mark.parametrize("usual_ms", [1, 10, 74, 230])
def test_noise_of_a_busy_machine_is_no_delay(usual_ms: int) -> None:
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    clock = ManualClock()
    link = Slowness(clock, usual_ms / 1000)
    for _ in range(2000):
        noisy = usual_ms / 1000 * chance.uniform(0.9, 2.0) + chance.uniform(0.0, 0.04)
        assert look(clock, link, noisy) == [0.0], f"seed {seed}"


def test_what_is_expected_is_learnt_where_nobody_says_and_only_downward() -> None:
    clock = ManualClock()
    link = Slowness(clock)
    look(clock, link, 0.08)
    look(clock, link, 0.01, 100)
    assert look(clock, link, 0.2, LOOKS)[-1] == pytest.approx(190, abs=10)
    assert look(clock, link, 0.2, 1200)[-1] == pytest.approx(190, abs=10), (
        "ten minutes on it is as far as ever"
    )


@pytest.mark.parametrize(("own_ms", "rival_ms"), [(0.0, 74.0), (165.0, 74.0)])
def test_a_region_whose_service_is_slow_costs_more_than_the_one_that_is_faster(
    own_ms: float, rival_ms: float
) -> None:
    round_trips = {"a": own_ms, "b": rival_ms}
    delay_ms = behind_ms(Behind("b", 0.03), "a", round_trips)
    assert own_ms + delay_ms > rival_ms
    assert delay_ms >= 30.0
    assert behind_ms(None, "a", round_trips) == 0.0
    assert behind_ms(Behind("b", 0.03, tried_again=True), "a", round_trips) == 0.0
