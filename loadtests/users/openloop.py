"""Begins visits when they are due, whatever became of those before."""

from collections.abc import Callable, Iterable

from atoll.clock import Clock
from loadtests.users.arrivals import Arrival


def dispatch(
    arrivals: Iterable[Arrival],
    begin_s: float,
    clock: Clock,
    sleep: Callable[[float], None],
    visit: Callable[[Arrival, float], None],
) -> None:
    """Calls `visit`, which must not wait, with each arrival and the moment at which it is due.

    `begin_s` is when the load begins, by the monotonic clock. A busy machine makes calls late, but the moment stays.
    """
    for arrival in arrivals:
        due_s = begin_s + arrival.at_s
        pause_s = due_s - clock.monotonic()
        if pause_s > 0.0:
            sleep(pause_s)
        visit(arrival, due_s)
