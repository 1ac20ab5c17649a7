"""Hedged attempts: when an attempt has taken long, and which of several answers counts.

A second attempt is sent once the first has taken longer than a high quantile of recent ones, so that few requests are
sent twice and the slowest are cut short (Dean and Barroso, "The Tail at Scale", 2013). A hedge that takes long itself
is hedged in turn.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from atoll.clock import Clock
from atoll.resilience.budget import Budget
from atoll.resilience.pace import Pace
from atoll.resilience.quantile import Quantile
from atoll.resilience.tried import Tried
from atoll.topology import HedgePolicy

MINIMUM_SAMPLES = 20
"""With fewer durations a p95 is no more than the longest of them."""

UNKNOWN_S = 1.0
"""How long an attempt is waited for alone while that is so: as `OutlierPolicy.stall_s`, what is silent for so long is
asked whether it is alive. Waiting without end would be a timeout where a region that nobody knows yet is slow."""

REFRESH_SAMPLES = 100
"""The quantile is looked up anew after so many durations, and whenever a timer runs out."""

LOOK_S = 0.25
"""Where answers take longer than this, attempts under way are looked at so often: see `HedgeTimer`."""

_SHORTEST_TIMER_S = 0.001
"""libuv's timers count whole milliseconds and may run out early; an attempt that is nearly due is looked at later."""


class Remaining(Protocol):
    """A deadline, as `atoll.resilience.deadline.Deadline` is one."""

    @property
    def remaining_s(self) -> float: ...


class Limited(Protocol):
    """What has to be known of a request here."""

    @property
    def deadline(self) -> Remaining: ...


RequestT = TypeVar("RequestT", bound=Limited)
ResponseT = TypeVar("ResponseT")


class Race(Generic[RequestT, ResponseT]):
    """An attempt that others may be sent against: it runs in the request's own task, each hedge in one of its own. A
    hedge ends it by cancelling that task, which then has to tell this cancellation from others'.
    """

    __slots__ = (
        "_cancelling",
        "_task",
        "answer",
        "budget",
        "closed",
        "decided",
        "hedges",
        "limit",
        "region",
        "regions",
        "request",
        "tried",
        "winner",
    )

    def __init__(
        self,
        request: RequestT,
        region: str,
        regions: tuple[str, ...],
        limit: int,
        budget: Budget,
        task: "asyncio.Task[object]",
    ) -> None:
        """The attempt is made in `region`, its hedges in others of `regions`. `limit` and `budget` bound and pay for
        the hedges; `task` is the one that runs the attempt.
        """
        self.request = request
        self.region = region
        self.regions = regions
        self.limit = limit
        self.budget = budget
        self.hedges: tuple[asyncio.Task[None], ...] = ()
        """All that were started, those that have ended as well."""
        self.tried: Tried | None = None
        """Where the request has been; None until that is of interest."""
        self.answer: ResponseT | None = None
        """What a hedge brought."""
        self.winner = ""
        """The region that it came from."""
        self.decided = False
        """The attempt has ended, by itself or by a hedge."""
        self.closed = False
        """Nobody waits for hedges any more."""
        self._task = task
        self._cancelling = task.cancelling()

    def win(self, answer: ResponseT, region: str) -> None:
        """The hedge that calls this is the first to have an answer. What still runs of the others is cancelled."""
        self.answer = answer
        self.winner = region
        winner = asyncio.current_task()
        for hedge in self.hedges:
            if hedge is not winner:
                hedge.cancel()
        if not self.decided:
            self.decided = True
            self._task.cancel()

    def won(self) -> bool:
        """To be asked once by the request's task as its attempt ends: whether a hedge has won.

        Takes the hedge's cancellation back. False if somebody else has cancelled the task as well: that one counts,
        and it is the caller's to raise it.
        """
        if not self.decided:
            self.decided = True
            return False
        return self._task.uncancel() <= self._cancelling


class HedgeTimer(Generic[RequestT, ResponseT]):
    """Says of each attempt in one region when it has taken too long: longer than most, or half of the time that its
    request had left. A region whose answers usually take that long must not use up a deadline that others could keep.

    One timer serves all attempts: they become due in the order in which they began, so only the oldest is watched. An
    attempt that ends in time costs two operations on a dict. Deadlines keep no order, and are looked at every `LOOK_S`.
    """

    __slots__ = (
        "_due",
        "_first_look_s",
        "_now",
        "_policy",
        "_quantile",
        "_refresh_in",
        "_running",
        "_timer",
        "delay_s",
        "pace",
    )

    def __init__(
        self, clock: Clock, policy: HedgePolicy, due: Callable[[Race[RequestT, ResponseT]], None]
    ) -> None:
        """`due` is called with each race in which an attempt here has taken too long."""
        self.delay_s: float | None = None
        """How long an attempt is waited for alone; None means for as long as it takes."""
        self.pace = Pace(clock)
        self._now = clock.monotonic
        self._policy = policy
        self._due = due
        self._quantile = Quantile(clock)
        self._running: dict[Race[RequestT, ResponseT], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._refresh()

    def use(self, policy: HedgePolicy) -> None:
        """Takes up another policy."""
        self._policy = policy
        self._refresh()

    def add(self, seconds: float) -> None:
        """An attempt has brought an answer after `seconds`. Doesn't count while the region is not at its usual pace."""
        if not self.pace.usual:
            return
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
        """An attempt begins. Only while `delay_s` is not None."""
        self._running[race] = now
        self.pace.attempts += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._first_look_s, self._look)

    def leave(self, race: Race[RequestT, ResponseT]) -> None:
        """An attempt has ended."""
        self._running.pop(race, None)

    def _look(self) -> None:
        """Tells of every attempt that is due, and watches the oldest of the others."""
        self._timer = None
        self._refresh()
        running, delay_s = self._running, self.delay_s
        if delay_s is None:
            running.clear()
            return
        now = self._now()
        latest = now - delay_s
        while running:
            race = next(iter(running))
            if running[race] > latest:
                break
            self._tell(race)
        if delay_s > LOOK_S:
            for race, began in tuple(running.items()):
                if race in running and now - began >= race.request.deadline.remaining_s:
                    self._tell(race)
        if running:
            pause_s = min(running[next(iter(running))] - latest, LOOK_S)
            self._timer = asyncio.get_running_loop().call_later(max(pause_s, _SHORTEST_TIMER_S), self._look)

    def _tell(self, race: Race[RequestT, ResponseT]) -> None:
        del self._running[race]
        self.pace.due()
        self._due(race)

    def _refresh(self) -> None:
        quantile, policy = self._quantile, self._policy
        enough = quantile.count >= MINIMUM_SAMPLES
        self._refresh_in = REFRESH_SAMPLES if enough else MINIMUM_SAMPLES - quantile.count
        if not policy.enabled:
            self.delay_s = None
        elif self.pace.usual or self.delay_s is None:
            usual = quantile.value(policy.quantile) if enough else None
            self.delay_s = max(UNKNOWN_S if usual is None else usual, policy.minimum_s)
        self._first_look_s = min(self.delay_s or 0.0, LOOK_S)
