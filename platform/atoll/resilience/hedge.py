"""Hedged attempts: when an attempt has taken long, and which of two answers counts.

A second attempt is sent once the first has taken longer than a high quantile of recent ones, so that few requests are
sent twice and the slowest are cut short (Dean and Barroso, "The Tail at Scale", 2013).
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from atoll.clock import Clock
from atoll.resilience.budget import Budget
from atoll.resilience.quantile import Quantile
from atoll.topology import HedgePolicy

MINIMUM_SAMPLES = 20
"""With fewer durations a p95 is no more than the longest of them; then nothing is hedged."""

REFRESH_SAMPLES = 100
"""The quantile is looked up anew after so many durations, and whenever a timer runs out."""

_SHORTEST_TIMER_S = 0.001
"""libuv's timers count whole milliseconds and may run out early; an attempt that is nearly due is looked at later."""

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class Race(Generic[RequestT, ResponseT]):
    """An attempt that another one may be sent against: the first runs in the request's own task, the hedge in one of
    its own. The hedge ends the first by cancelling that task, which then has to tell this cancellation from others'.
    """

    __slots__ = (
        "_cancelling",
        "_task",
        "answer",
        "budget",
        "closed",
        "decided",
        "hedge",
        "not_before",
        "regions",
        "request",
    )

    def __init__(
        self, request: RequestT, regions: tuple[str, ...], budget: Budget, task: "asyncio.Task[object]"
    ) -> None:
        """`budget` pays for the hedge; `task` is the one that runs the first attempt."""
        self.request = request
        self.regions = regions
        self.budget = budget
        self.hedge: asyncio.Task[None] | None = None
        self.answer: ResponseT | None = None
        """What the hedge brought."""
        self.not_before = 0.0
        """When the hedge's region may be asked again, if the hedge failed."""
        self.decided = False
        """The first attempt has ended, by itself or by the hedge."""
        self.closed = False
        """Nobody waits for the hedge any more."""
        self._task = task
        self._cancelling = task.cancelling()

    def win(self, answer: ResponseT) -> None:
        """The hedge has an answer. If the first attempt still runs, it is cancelled."""
        self.answer = answer
        if not self.decided:
            self.decided = True
            self._task.cancel()

    def won(self) -> bool:
        """To be asked once by the request's task as its first attempt ends: whether the hedge has won.

        Takes the hedge's cancellation back. False if somebody else has cancelled the task as well: that one counts,
        and it is the caller's to raise it.
        """
        if not self.decided:
            self.decided = True
            return False
        return self._task.uncancel() <= self._cancelling


class HedgeTimer(Generic[RequestT, ResponseT]):
    """Says of each attempt in one region when it has taken longer than most.

    One timer serves all attempts: they become due in the order in which they began, so only the oldest is watched. An
    attempt that ends in time costs two operations on a dict.
    """

    __slots__ = ("_due", "_now", "_policy", "_quantile", "_refresh_in", "_running", "_timer", "delay_s")

    def __init__(
        self, clock: Clock, policy: HedgePolicy, due: Callable[[Race[RequestT, ResponseT]], None]
    ) -> None:
        """`due` is called with each race whose first attempt has taken too long."""
        self.delay_s: float | None = None
        """How long an attempt is waited for alone; None means for as long as it takes."""
        self._now = clock.monotonic
        self._policy = policy
        self._due = due
        self._quantile = Quantile(clock)
        self._refresh_in = MINIMUM_SAMPLES
        self._running: dict[Race[RequestT, ResponseT], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def use(self, policy: HedgePolicy) -> None:
        """Takes up another policy."""
        self._policy = policy
        self._refresh()

    def add(self, seconds: float) -> None:
        """An attempt has brought an answer after `seconds`."""
        self._quantile.add(seconds)
        self._refresh_in -= 1
        if self._refresh_in <= 0:
            self._refresh()

    def cut_short(self, seconds: float) -> None:
        """A hedge has ended an attempt after `seconds`: it took at least these.

        If they did not count, the quantile would fall with each hedge, and hedges would lead to more hedges.
        """
        self.add(seconds)

    def enter(self, race: Race[RequestT, ResponseT], now: float) -> None:
        """A first attempt begins. Only while `delay_s` is not None."""
        self._running[race] = now
        if self._timer is None and self.delay_s is not None:
            self._timer = asyncio.get_running_loop().call_later(self.delay_s, self._look)

    def leave(self, race: Race[RequestT, ResponseT]) -> None:
        """A first attempt has ended."""
        self._running.pop(race, None)

    def _look(self) -> None:
        """Tells of every attempt that is due, and watches the oldest of the others."""
        self._timer = None
        self._refresh()
        if self.delay_s is None:
            self._running.clear()
            return
        running = self._running
        latest = self._now() - self.delay_s
        while running:
            race = next(iter(running))
            early_s = running[race] - latest
            if early_s > 0:
                pause = max(early_s, _SHORTEST_TIMER_S)
                self._timer = asyncio.get_running_loop().call_later(pause, self._look)
                return
            del running[race]
            self._due(race)

    def _refresh(self) -> None:
        quantile, policy = self._quantile, self._policy
        enough = policy.enabled and quantile.count >= MINIMUM_SAMPLES
        usual = quantile.value(policy.quantile) if enough else None
        self.delay_s = None if usual is None else max(usual, policy.minimum_s)
        self._refresh_in = MINIMUM_SAMPLES if usual is None else REFRESH_SAMPLES
