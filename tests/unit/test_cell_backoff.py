"""Waits between restarts: growing, capped, spread, and forgotten once a process has run for a while."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from atoll.cell.backoff import RestartBackoff, RestartPolicy

POLICY = RestartPolicy(base_s=0.5, cap_s=8.0, reset_after_s=30.0)


class Highest(Random):
    """Draws the upper end, so that ceilings can be seen."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_ceilings_double_up_to_the_cap() -> None:
    backoff = RestartBackoff(POLICY, Highest())
    assert [backoff.after_run(0.1) for _ in range(7)] == [0.5, 1, 2, 4, 8, 8, 8]


def test_a_long_run_makes_the_next_end_the_first() -> None:
    backoff = RestartBackoff(POLICY, Highest())
    for _ in range(5):
        backoff.after_run(29.9)
    assert backoff.after_run(29.9) == 8
    assert backoff.after_run(30.0) == 0.5
    assert backoff.after_run(0.0) == 1


def test_a_heal_forgets() -> None:
    backoff = RestartBackoff(POLICY, Highest())
    for _ in range(5):
        backoff.after_run(0.0)
    backoff.reset()
    assert backoff.after_run(0.0) == 0.5


@given(seed=st.integers(), runs=st.lists(st.floats(0, 100), min_size=1, max_size=200))
def test_waits_stay_between_zero_and_the_cap(seed: int, runs: list[float]) -> None:
    backoff = RestartBackoff(POLICY, Random(seed))
    assert all(0 <= backoff.after_run(ran_for_s) <= POLICY.cap_s for ran_for_s in runs)


def test_two_processes_don_t_come_back_in_step() -> None:
    one, other = RestartBackoff(POLICY, Random(1)), RestartBackoff(POLICY, Random(2))
    assert [one.after_run(0) for _ in range(5)] != [other.after_run(0) for _ in range(5)]
