"""Quantiles of recent durations."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.clock import ManualClock
from atoll.resilience.quantile import WINDOW_S, Quantile

A_BUCKET = 2 ** (1 / 12)
DURATIONS = st.lists(st.floats(1e-4, 1000.0), min_size=1, max_size=200)


def nearest_rank(values: list[float], q: float) -> float:
    return sorted(values)[max(1, ceil(q * len(values))) - 1]


@given(DURATIONS, st.sampled_from((0.01, 0.5, 0.9, 0.95, 0.99, 1.0)))
def test_a_value_is_at_most_six_percent_above_the_true_one_and_never_below(
    durations: list[float], q: float
) -> None:
    quantile = Quantile(ManualClock())
    for duration in durations:
        quantile.add(duration)
    assert quantile.count == len(durations)
    value, true = quantile.value(q), nearest_rank(durations, q)
    assert value is not None
    assert true * (1 - 1e-9) <= value <= true * A_BUCKET * (1 + 1e-9)
    assert A_BUCKET < 1.06


@given(st.lists(st.tuples(st.floats(0.0, 25.0), st.floats(1e-3, 10.0)), min_size=1, max_size=80))
def test_it_remembers_at_least_one_window_and_at_most_two(events: list[tuple[float, float]]) -> None:
    clock = ManualClock()
    quantile = Quantile(clock)
    added: list[float] = []
    for step, duration in events:
        clock.advance(step)
        quantile.add(duration)
        added.append(clock.now)
    at_least = sum(clock.now - WINDOW_S < at for at in added)
    at_most = sum(clock.now - 2 * WINDOW_S <= at for at in added)
    assert at_least <= quantile.count <= at_most


def test_nothing_is_known_at_first_and_after_a_long_silence() -> None:
    clock = ManualClock()
    quantile = Quantile(clock)
    assert quantile.value(0.95) is None
    quantile.add(0.1)
    clock.advance(WINDOW_S)
    assert quantile.count == 1
    clock.advance(2 * WINDOW_S)
    assert quantile.value(0.95) is None and quantile.count == 0
    quantile.add(0.2)
    assert quantile.value(0.95) == pytest.approx(0.2, rel=0.06)


@pytest.mark.parametrize("duration", [0.0, 1e-9, 1e9])
def test_what_is_out_of_range_counts_as_the_nearest_in_range(duration: float) -> None:
    quantile = Quantile(ManualClock())
    quantile.add(duration)
    value = quantile.value(0.5)
    assert value is not None
    assert value < 1e-4 if duration < 1 else value > 900
