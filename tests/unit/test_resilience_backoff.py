"""Waiting before trying again."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.resilience import Backoff


class Highest(Random):
    """Chance that always draws the most."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


def test_ceilings_double_up_to_the_cap_and_start_over() -> None:
    backoff = Backoff(0.5, 3.0, Highest())
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.attempts == 5
    backoff.reset()
    assert (backoff.attempts, backoff.next_s()) == (0, 0.5)


@given(st.integers(), st.floats(0.001, 10), st.floats(1, 100))
def test_each_wait_is_between_zero_and_its_ceiling(seed: int, base_s: float, factor: float) -> None:
    backoff = Backoff(base_s, base_s * factor, Random(seed))
    for _ in range(40):
        ceiling_s = backoff.ceiling_s
        assert 0.0 <= backoff.next_s() <= ceiling_s <= base_s * factor


def test_waits_fill_the_whole_range() -> None:
    chance = Random(1)
    waits = [Backoff(1.0, 1.0, chance).next_s() for _ in range(2000)]
    assert min(waits) < 0.05
    assert max(waits) > 0.95


def test_a_long_outage_does_not_overflow() -> None:
    backoff = Backoff(0.1, 30.0, Random(1))
    for _ in range(5000):
        backoff.next_s()
    assert backoff.ceiling_s == 30.0


@pytest.mark.parametrize(("base_s", "cap_s"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0)])
def test_nonsense_is_refused(base_s: float, cap_s: float) -> None:
    with pytest.raises(ValueError, match="base above zero"):
        Backoff(base_s, cap_s, Random(1))
