import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.drills.scenario import Shape, ShapeKind
from loadtests.users import arrivals as module
from loadtests.users.arrivals import ShapeError, arrivals, check, rate, sale_rate

SHAPES = {
    "steady": Shape(ShapeKind.STEADY, 50.0),
    "ramp": Shape(ShapeKind.RAMP, 10.0, peak=90.0, at_s=20.0, for_s=60.0),
    "ramp down": Shape(ShapeKind.RAMP, 90.0, peak=10.0, at_s=20.0, for_s=60.0),
    "spike": Shape(ShapeKind.SPIKE, 10.0, peak=100.0, at_s=30.0, for_s=20.0),
    "sun": Shape(ShapeKind.SUN, 50.0, period_s=100.0),
    "sawtooth": Shape(ShapeKind.SAWTOOTH, 10.0, peak=100.0, period_s=25.0),
    "flash sale": Shape(ShapeKind.FLASH_SALE, 20.0, peak=60.0, at_s=30.0, for_s=40.0, country="IE"),
}
UNTIL_S, BIN_S = 100.0, 5.0


def misfit(shape: Shape, seed: int) -> float:
    """The largest deviation of a bin's count from the integral of the rate, in standard deviations."""
    counts = Counter(int(one.at_s / BIN_S) for one in arrivals(shape, UNTIL_S, random.Random(seed)))
    worst = 0.0
    for number in range(int(UNTIL_S / BIN_S)):
        steps = [rate(shape, (number + (step + 0.5) / 500) * BIN_S) for step in range(500)]
        expected = sum(steps) / len(steps) * BIN_S
        worst = max(worst, abs(counts[number] - expected) / math.sqrt(expected))
    return worst


@pytest.mark.parametrize("name", SHAPES)
def test_visits_come_at_the_rate_of_their_shape(name: str) -> None:
    for seed in range(10):
        assert misfit(SHAPES[name], seed) < 4.8, seed  # 200 bins: more by chance once in 3,000 such tests


@pytest.mark.parametrize("name", ["ramp", "spike", "sawtooth", "flash sale"])
def test_control_without_thinning_they_would_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    true_rate = module.rate
    monkeypatch.setattr(module, "rate", lambda shape, at_s: math.inf)
    counts = Counter(int(one.at_s / BIN_S) for one in arrivals(SHAPES[name], UNTIL_S, random.Random(1)))
    expected = true_rate(SHAPES[name], BIN_S / 2) * BIN_S
    assert abs(counts[0] - expected) / math.sqrt(expected) > 4.8


def test_pauses_between_visits_have_no_memory() -> None:
    """Exponential: as many are shorter than the mean as that has it, and their deviation is their mean."""
    times = [one.at_s for one in arrivals(SHAPES["steady"], 400.0, random.Random(7))]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    mean = sum(pauses) / len(pauses)
    deviation = math.sqrt(sum((pause - mean) ** 2 for pause in pauses) / len(pauses))
    assert abs(deviation / mean - 1.0) < 0.05
    assert abs(sum(pause < mean for pause in pauses) / len(pauses) - (1 - math.exp(-1))) < 0.02


def test_only_those_of_a_sale_come_for_it_and_only_while_it_lasts() -> None:
    came = list(arrivals(SHAPES["flash sale"], UNTIL_S, random.Random(3)))
    sale = [one.at_s for one in came if one.sale]
    assert min(sale) >= 30.0 and max(sale) < 70.0
    assert abs(len(sale) - 40 * 60) < 5 * math.sqrt(40 * 60)
    assert abs(len(came) - len(sale) - 100 * 20) < 5 * math.sqrt(100 * 20)
    assert sale_rate(SHAPES["spike"], 40.0) == 0.0


@given(st.sampled_from(sorted(SHAPES)), st.integers(0, 10_000))
@settings(max_examples=30)
def test_a_seed_gives_the_same_visits_in_order(name: str, seed: int) -> None:
    first, second = (list(arrivals(SHAPES[name], 20.0, random.Random(seed))) for _ in range(2))
    assert first == second
    assert first == sorted(first, key=lambda one: one.at_s)
    assert all(0.0 <= one.at_s < 20.0 for one in first)


@pytest.mark.parametrize(
    ("shape", "wrong"),
    [
        (Shape(ShapeKind.STEADY, 0.0), {"rate"}),
        (Shape(ShapeKind.STEADY, math.nan), {"rate"}),
        (Shape(ShapeKind.RAMP, 1.0), {"peak", "at_s", "for_s"}),
        (Shape(ShapeKind.SPIKE, 1.0, peak=2.0, at_s=-1.0, for_s=0.0), {"at_s", "for_s"}),
        (Shape(ShapeKind.SUN, 1.0), {"period_s"}),
        (Shape(ShapeKind.SAWTOOTH, 3.0, peak=2.0, period_s=1.0), {"peak"}),
        (Shape(ShapeKind.FLASH_SALE, 1.0, peak=2.0, at_s=1.0, for_s=1.0), {"country"}),
    ],
)
def test_a_shape_that_says_too_little_is_refused(shape: Shape, wrong: set[str]) -> None:
    with pytest.raises(ShapeError) as refused:
        check(shape)
    assert refused.value.problems.keys() == wrong
    with pytest.raises(ShapeError):
        next(arrivals(shape, 1.0, random.Random(1)))
