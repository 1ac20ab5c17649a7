"""Hybrid clocks."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.clock import ManualClock
from atoll.state.stamp import (
    FUTURE_MS,
    ZERO,
    HybridClock,
    ahead_ms,
    counter_of,
    is_stamp,
    millis,
    stamp_of,
    successor,
)


class JumpingClock(ManualClock):
    """A wall clock that anybody may set."""

    def set(self, wall_s: float) -> None:
        self.epoch, self.now = wall_s, 0.0


@given(st.integers(0, 2**48 - 2), st.integers(0, 2**16 - 1), st.integers(0, 2**48 - 1))
def test_a_successor_is_later_and_not_before_the_wall_clock(last_ms: int, counter: int, now_ms: int) -> None:
    last = stamp_of(last_ms, counter)
    following = successor(last, now_ms)
    assert following > last and millis(following) >= now_ms and is_stamp(following)
    assert (millis(following), counter_of(following)) <= max(
        (last_ms + 1, 0), (last_ms, counter + 1), (now_ms, 0)
    )


def test_a_full_counter_carries_into_the_milliseconds() -> None:
    assert successor(stamp_of(41, 0xFFFF), 41) == stamp_of(42, 0)


def test_stamps_order_as_text() -> None:
    assert (
        stamp_of(255, 9) < stamp_of(256, 0) < stamp_of(256, 10) and is_stamp(ZERO) and stamp_of(0, 1) > ZERO
    )
    assert not is_stamp("0" * 15) and not is_stamp("G" * 16) and not is_stamp("F" * 16)
    for wall_ms, counter in ((1 << 48, 0), (0, 1 << 16), (-1, 0)):
        with pytest.raises(ValueError, match="fits in no stamp"):
            stamp_of(wall_ms, counter)


def causality_broken(seed: int, tick: "type[HybridClock]") -> bool:
    """Whether, among clocks that jump, a stamp is ever not later than all that its clock issued or saw."""
    chance = random.Random(seed)
    walls = [JumpingClock() for _ in range(3)]
    clocks = [tick(wall) for wall in walls]
    seen = [ZERO] * 3
    for _ in range(60):
        at, other = chance.randrange(3), chance.randrange(3)
        walls[at].set(1_700_000_000 + chance.uniform(-5, 5))
        if chance.random() < 0.4:
            clocks[at].observe(seen[other])
            seen[at] = max(seen[at], seen[other])
        stamp = clocks[at].now()
        if stamp <= seen[at]:
            return True
        seen[at] = stamp
    return False


class WallClock(HybridClock):
    """What is naive: the wall clock alone."""

    def now(self) -> str:
        self.last = ZERO
        return super().now()


def test_stamps_follow_causality_however_clocks_jump() -> None:
    assert not any(causality_broken(seed, HybridClock) for seed in range(300))


def test_control_a_wall_clock_alone_does_not() -> None:
    assert all(causality_broken(seed, WallClock) for seed in range(20))


def test_a_stamp_too_far_ahead_is_delayed_until_it_no_longer_is() -> None:
    stamp = stamp_of(10_000)
    assert ahead_ms(stamp, 10_000 - FUTURE_MS) == 0
    delay = ahead_ms(stamp, 9_000)
    assert delay == 500 and ahead_ms(stamp, 9_000 + delay) == 0
