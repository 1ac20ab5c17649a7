"""No coordinated omission: what a stall does to everybody who came meanwhile is seen, as a closed loop does not."""

import random

from hypothesis import given
from hypothesis import strategies as st

from atoll.clock import ManualClock
from loadtests.drills.scenario import Shape, ShapeKind
from loadtests.users.arrivals import Arrival, arrivals
from loadtests.users.openloop import dispatch

SECONDS, RATE = 60.0, 50.0
STALL = (20.0, 26.0)
ANSWER_S = 0.01


def answered(at_s: float) -> float:
    """When a server answers that stands still for six seconds."""
    return (STALL[1] if STALL[0] <= at_s < STALL[1] else at_s) + ANSWER_S


def share_over(latencies: list[float], limit_s: float) -> float:
    return sum(latency > limit_s for latency in latencies) / len(latencies)


def test_a_stall_is_felt_by_all_who_came_meanwhile() -> None:
    clock = ManualClock()
    latencies: list[float] = []
    dispatch(
        arrivals(Shape(ShapeKind.STEADY, RATE), SECONDS, random.Random(1)),
        0.0,
        clock,
        clock.advance,
        lambda _, due_s: latencies.append(answered(due_s) - due_s),
    )
    assert abs(share_over(latencies, 1.0) - 5.0 / 60.0) < 0.02, "those of the stall's first five seconds"
    assert abs(len(latencies) - SECONDS * RATE) < 5 * (SECONDS * RATE) ** 0.5, "it did not slow arrivals down"


def test_control_a_closed_loop_hides_it() -> None:
    latencies: list[float] = []
    at_s, pause_s = 0.0, 1.0 / RATE - ANSWER_S
    while at_s < SECONDS:
        ended_s = answered(at_s)
        latencies.append(ended_s - at_s)
        at_s = ended_s + pause_s
    assert share_over(latencies, 1.0) < 0.001, "one request of thousands met the stall"


def test_a_busy_machine_begins_late_but_the_moment_stays() -> None:
    """The load's own process stands still: users did not come later for that."""
    clock = ManualClock()
    seen: list[tuple[float, float]] = []

    def visit(arrival: Arrival, due_s: float) -> None:
        seen.append((due_s, clock.monotonic()))
        if arrival.at_s == 2.0:
            clock.advance(3.0)

    dispatch([Arrival(float(number)) for number in range(8)], 100.0, clock, clock.advance, visit)
    assert [due_s for due_s, _ in seen] == [100.0 + number for number in range(8)]
    assert [begun_s for _, begun_s in seen] == [100.0, 101.0, 102.0, 105.0, 105.0, 105.0, 106.0, 107.0]


@given(st.lists(st.floats(0.0, 100.0), max_size=50), st.floats(0.0, 1000.0))
def test_nobody_comes_early_and_nobody_is_left_out(times: list[float], begin_s: float) -> None:
    clock = ManualClock()
    seen: list[tuple[float, float]] = []
    coming = [Arrival(at_s) for at_s in sorted(times)]
    dispatch(coming, begin_s, clock, clock.advance, lambda _, due_s: seen.append((due_s, clock.monotonic())))
    assert len(seen) == len(times)
    assert all(begun_s >= due_s - 1e-6 for due_s, begun_s in seen)
