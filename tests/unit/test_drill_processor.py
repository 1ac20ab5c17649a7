"""How busy the machine is."""

import pytest

from loadtests.drills.processor import Processor, Ticks, read_ticks


def test_busy_is_all_time_but_idle_and_waiting_for_a_disk() -> None:
    first = read_ticks("cpu  100 0 50 800 50 0 0 0 70 0\ncpu0 1 2 3\n")
    second = read_ticks("cpu  180 0 70 850 50 0 0 0 90 0\ncpu0 1 2 3\n")
    assert (first, second) == (Ticks(150, 1000), Ticks(250, 1150))
    assert second.busy_since(first) == pytest.approx(100 / 150), "guests' time is in user time already"
    assert first.busy_since(first) == 0.0


def test_the_machine_itself_is_read() -> None:
    assert 0.0 <= Processor().busy() <= 1.0
