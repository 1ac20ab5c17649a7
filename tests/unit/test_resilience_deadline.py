"""Deadlines and the headers that carry them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.clock import ManualClock
from atoll.resilience import Deadline, parse_deadline_ms, parse_timeout


def test_a_deadline_runs_down_to_zero_and_stays_there() -> None:
    clock = ManualClock(now=100.0)
    deadline = Deadline(clock, 1.5)
    assert (deadline.remaining_s, deadline.remaining_ms, deadline.expired) == (1.5, 1500, False)
    clock.advance(1.4996)
    assert (deadline.remaining_ms, deadline.expired) == (0, False)
    clock.advance(1.0)
    assert (deadline.remaining_s, deadline.remaining_ms, deadline.expired) == (0.0, 0, True)


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_what_is_sent_on_is_never_more_than_what_is_left(seconds: float, passed: float) -> None:
    clock = ManualClock()
    deadline = Deadline(clock, seconds)
    clock.advance(passed)
    assert 0 <= deadline.remaining_ms / 1000 <= deadline.remaining_s <= seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1ms", 0.001), (b"250ms", 0.25), (b"2s", 2.0), (b"60s", 5.0), (b"9" * 5000 + b"s", 5.0)],
)
def test_a_timeout_is_read_and_capped(value: bytes, seconds: float) -> None:
    assert parse_timeout(value, 5.0) == seconds


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"5",
        b"0s",
        b"05s",
        b"-1s",
        b"1.5s",
        b"1 s",
        b"2s\n",
        b"1m",
        b"1S",
        b"s",
        b"1ms1",
        "٣s".encode(),
        b"\xff",
    ],
)
def test_any_other_timeout_is_refused_with_what_would_be_right(value: bytes) -> None:
    with pytest.raises(ValueError, match="such as 250ms or 2s"):
        parse_timeout(value, 5.0)


@given(st.integers(1, 10**9), st.sampled_from(("ms", "s")), st.floats(0.001, 3600))
def test_a_timeout_is_what_it_says_or_the_cap(number: int, unit: str, cap_s: float) -> None:
    said_s = number / 1000 if unit == "ms" else number
    assert parse_timeout(f"{number}{unit}".encode(), cap_s) == min(said_s, cap_s)


def test_a_deadline_in_milliseconds_is_read_and_capped() -> None:
    assert parse_deadline_ms(b"0", 5.0) == 0.0
    assert parse_deadline_ms(b"1500", 5.0) == 1.5
    assert parse_deadline_ms(b"9" * 5000, 5.0) == 5.0


@pytest.mark.parametrize("value", [b"", b"1.5", b"-1", b"01", b"1500ms", b"15\n"])
def test_any_other_deadline_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="such as 1500"):
        parse_deadline_ms(value, 5.0)
