"""A circuit breaker: what keeps failing is left alone for a while, then asked by one request at a time.

    closed --run of failures, or failure rate--> open --its time is over, one asks--> half-open
      ^                                            ^                                     | |
      |                                            `--the probe failed, twice as long----' |
      `--the probe succeeded---------------------------------------------------------------'

The pattern is Michael Nygard's ("Release It!", 2007, chapter 5). The state machine is pybreaker's; what it lacks under
asyncio is added around it: outcomes are told to it after the fact, so its lock is never held while something waits;
one probe at a time (pybreaker lets everybody in while half-open); a request that was given up is no outcome (there it
is a failure, or a success if excluded); an injected clock; and a failure rate in a window beside the run of failures
(resilience4j's `failureRateThreshold`, `minimumNumberOfCalls` and `slidingWindowSize`).
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

import pybreaker

from atoll.clock import Clock
from atoll.resilience.window import Window
from atoll.topology import BreakerPolicy

LONGEST_OPEN = 8
"""While probes keep failing it stays open for twice as long each time, up to this many times `open_s`: with the default
of 5 s a region that comes back is asked again within 40 s. This project's own, as Envoy multiplies ejections."""

Permit = int
"""Says in which generation a request was let in; every change of state and every probe begins a new one. Never 0."""


class BreakerState(StrEnum):
    """Whether requests are let through."""

    CLOSED = pybreaker.STATE_CLOSED
    OPEN = pybreaker.STATE_OPEN
    HALF_OPEN = pybreaker.STATE_HALF_OPEN


@dataclass(frozen=True, slots=True)
class BreakerStatistics:
    """A snapshot. Counters run from the start of this process."""

    state: BreakerState
    since: float
    """When `state` last changed, on the clock's monotonic time."""
    outcomes: int
    """Within the window."""
    failures: int
    """Within the window."""
    open_s: float
    """How long it opens, or opened last."""
    trips: int
    """Times it went from closed to open."""
    probes: int
    refused: int
    """Requests that were not let in."""
    stragglers: int
    """Outcomes of an earlier generation, which count for nothing."""


class Breaker:
    """The breaker of one (region, service). For one event loop; not for several threads.

    Whoever wants to send calls `admit`, and then exactly one of `succeeded`, `failed` and `ignored` with the permit
    that it got (a probe that is never told of keeps everybody else out).
    """

    __slots__ = (
        "_admits",
        "_changed",
        "_early",
        "_generation",
        "_machine",
        "_now",
        "_open_s",
        "_open_until",
        "_policy",
        "_probes",
        "_probing",
        "_refused",
        "_since",
        "_state",
        "_stragglers",
        "_tells",
        "_trips",
        "_waiting",
        "_window",
    )

    def __init__(self, clock: Clock, policy: BreakerPolicy, changed: Callable[[], None]) -> None:
        """`changed` is called after every change of state."""
        self._now = clock.monotonic
        self._policy = policy
        self._changed = changed
        self._window = Window(clock.monotonic(), policy.window_s)
        self._machine = pybreaker.CircuitBreaker(
            fail_max=policy.consecutive,
            success_threshold=1,
            throw_new_error_on_trip=False,
            listeners=[_Listener(self._enter)],
        )
        self._state = BreakerState.CLOSED
        self._since = clock.monotonic()
        self._admits = True
        """Whether it is closed; the one thing that a request looks at when all is well."""
        self._tells = False
        """Whether the next success means something to the machine: it ends a run of failures, or a probe."""
        self._generation = 1
        self._probing = False
        self._early = False
        """Whether the probe was let in before its time, because it had nowhere else to go."""
        self._open_s = policy.open_s
        self._open_until = 0.0
        self._waiting: list[asyncio.Future[None]] = []
        """Requests with nowhere else to go, while another one is the probe."""
        self._trips = 0
        self._probes = 0
        self._refused = 0
        self._stragglers = 0

    def use(self, policy: BreakerPolicy) -> None:
        """Takes up another policy. The state stays, and the window begins afresh."""
        if policy != self._policy:
            self._policy = policy
            self._machine.fail_max = policy.consecutive
            self._window = Window(self._now(), policy.window_s)

    @property
    def state(self) -> BreakerState:
        """It becomes half-open when a probe is let in, not by time alone."""
        return self._state

    @property
    def retry_after_s(self) -> float:
        """Seconds until a probe may be let in; 0 if one may now, is under way, or none is needed."""
        if self._state is not BreakerState.OPEN:
            return 0.0
        return max(0.0, self._open_until - self._now())

    def admit(self) -> Permit | None:
        """Lets a request in, or not: nothing may be sent then."""
        return self._generation if self._admits else self._admit_probe(early=False)

    def admit_last(self) -> Permit | None:
        """As `admit`, for a request that has nowhere else to go: it need not wait for the time of a probe.

        It is the only probe all the same. If it fails nothing changes: the breaker is open until it was to be.
        """
        return self._generation if self._admits else self._admit_probe(early=True)

    async def admit_waiting(self, wait_s: float) -> Permit | None:
        """As `admit_last`; while another request is under way as the probe, it waits for what becomes of that one.

        Up to `wait_s` seconds: it can only be turned away otherwise, and the region may be well again.
        """
        until = self._now() + wait_s
        while (permit := self.admit_last()) is None and (left_s := until - self._now()) > 0.0:
            told = asyncio.get_running_loop().create_future()
            self._waiting.append(told)
            try:
                async with asyncio.timeout(left_s):
                    await told
            except TimeoutError:
                return None
        return permit

    def succeeded(self, permit: Permit) -> None:
        """The request was answered."""
        if permit != self._generation:
            self._stragglers += 1
            return
        self._window.succeeded(self._now())
        if self._tells:
            self._tells = False
            before = self._state
            self._machine.call(_succeed)
            self._tell(before)

    def failed(self, permit: Permit) -> None:
        """The request failed, in a way that speaks against the region."""
        if permit != self._generation:
            self._stragglers += 1
            return
        before = self._state
        self._tells = True
        now = self._now()
        self._window.failed(now)
        with suppress(_Failure):
            self._machine.call(_fail)
        policy = self._policy
        if self._state is BreakerState.CLOSED and self._window.fails(
            now, policy.failure_rate, policy.minimum
        ):
            self._machine.open()
        self._tell(before)

    def ignored(self, permit: Permit) -> None:
        """The request was given up before its outcome was known (its client left): it counts for nothing.

        A probe gives its permit back, so that the next request is one.
        """
        if permit == self._generation and self._probing:
            self._probing = False
            self._generation += 1
            self._wake()

    def statistics(self) -> BreakerStatistics:
        outcomes, failures = self._window.counts(self._now())
        return BreakerStatistics(
            state=self._state,
            since=self._since,
            outcomes=outcomes,
            failures=failures,
            open_s=self._open_s,
            trips=self._trips,
            probes=self._probes,
            refused=self._refused,
            stragglers=self._stragglers,
        )

    def _admit_probe(self, *, early: bool) -> Permit | None:
        before_time = self.retry_after_s > 0.0
        if self._probing or (before_time and not early):
            self._refused += 1
            return None
        self._early = before_time
        before = self._state
        if before is BreakerState.OPEN:
            self._machine.half_open()
        self._generation += 1
        self._probing = True
        self._probes += 1
        permit = self._generation
        self._tell(before)
        return permit

    def _enter(self, state: BreakerState) -> None:
        """The machine changes state. It must not be asked anything now: it is in the middle of it."""
        now = self._now()
        if state is BreakerState.OPEN:
            if self._state is BreakerState.CLOSED:
                self._open_s = self._policy.open_s
                self._open_until = now + self._open_s
                self._trips += 1
            elif not self._early:
                self._open_s = min(2 * self._open_s, LONGEST_OPEN * self._policy.open_s)
                self._open_until = now + self._open_s
        elif state is BreakerState.CLOSED:
            self._open_s = self._policy.open_s
            self._window.clear()
        self._state = state
        self._since = now
        self._admits = state is BreakerState.CLOSED
        self._tells = state is BreakerState.HALF_OPEN
        self._probing = False
        self._generation += 1
        self._wake()

    def _wake(self) -> None:
        """The probe has ended. The first of those that waited for it is the next one, if there has to be one."""
        waiting, self._waiting = self._waiting, []
        for told in waiting:
            if not told.done():
                told.set_result(None)

    def _tell(self, before: BreakerState) -> None:
        if self._state is not before:
            self._changed()


class _Listener(pybreaker.CircuitBreakerListener):
    """Hears of the machine's changes of state."""

    def __init__(self, entered: Callable[[BreakerState], None]) -> None:
        self._entered = entered

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        self._entered(BreakerState(new_state.name))


class _Failure(Exception):
    """What the machine is told of a failure."""


def _succeed() -> None:
    """What the machine is told of a success."""


def _fail() -> None:
    raise _Failure
