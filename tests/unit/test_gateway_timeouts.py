"""The wheel that ends requests whose time is up."""

import asyncio
import time

import pytest

from atoll.clock import SystemClock
from atoll_gateway.timeouts import Timeouts, Watched


class Slow:
    """Waits under a deadline, and remembers how that ended."""

    def __init__(self, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self.cut: bool | None = None
        self.watched: Watched | None = None

    async def wait(self, seconds: float, within_s: float) -> float:
        started = time.monotonic()
        self.watched = self.timeouts.watch(started + within_s)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cut = self.watched.cut()
            if not self.cut:
                raise
        finally:
            self.timeouts.release(self.watched)
        return time.monotonic() - started


async def test_a_request_is_ended_after_its_deadline_and_never_before() -> None:
    slow = Slow(Timeouts(SystemClock()))
    taken = await slow.wait(30.0, 0.05)
    assert slow.cut is True
    assert taken >= 0.05
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0  # nothing is left of it for what the task does next


async def test_what_is_over_in_time_is_left_alone() -> None:
    timeouts = Timeouts(SystemClock())
    slow = Slow(timeouts)
    await slow.wait(0.0, 0.03)
    await asyncio.sleep(0.08)
    assert slow.cut is None
    assert slow.watched is not None and not slow.watched.expired


async def test_a_client_that_goes_away_is_no_timeout() -> None:
    slow = Slow(Timeouts(SystemClock()))
    task = asyncio.create_task(slow.wait(30.0, 30.0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.cut is False


async def test_a_client_that_goes_away_with_its_time_up_is_gone() -> None:
    slow = Slow(Timeouts(SystemClock()))
    task = asyncio.create_task(slow.wait(30.0, 30.0))
    await asyncio.sleep(0)
    assert slow.watched is not None
    slow.watched.expire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.cut is False


async def test_many_deadlines_in_any_order() -> None:
    timeouts = Timeouts(SystemClock())
    requests = [Slow(timeouts) for _ in range(40)]
    within = [0.02 + 0.01 * (number * 7 % 20) for number in range(40)]
    taken = await asyncio.gather(*(slow.wait(30.0, its) for slow, its in zip(requests, within, strict=True)))
    assert all(slow.cut for slow in requests)
    assert all(took >= its for took, its in zip(taken, within, strict=True))


async def test_a_deadline_set_while_none_runs_is_kept_too() -> None:
    """The timer stops when no request is under way, and has to know the time when it starts again."""
    timeouts = Timeouts(SystemClock())
    assert await Slow(timeouts).wait(30.0, 0.03) >= 0.03
    await asyncio.sleep(0.1)
    slow = Slow(timeouts)
    assert await slow.wait(30.0, 0.03) < 10.0
    assert slow.cut is True
