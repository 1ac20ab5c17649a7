"""The attempts of one request: first in the best region, then where it may still be mended.

The first attempt is a bare call. What follows a failure is driven by tenacity: it leaves the region that failed, is
paid for from the service's budget, and waits with full jitter before a region is asked again. Only an attempt that may
be repeated is: see `atoll.resilience.replay`. An attempt that takes long may be hedged: see `atoll.resilience.hedge`.

It runs on an event loop, real or virtual; clock, random source, pauses and the sending itself are given to it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast

from tenacity import AsyncRetrying, RetryCallState, retry_if_result, wait_exponential

from atoll.clock import Clock
from atoll.resilience.budget import Budget
from atoll.resilience.hedge import HedgeTimer, Race
from atoll.resilience.replay import Replay, replay
from atoll.topology import HedgePolicy, RetryPolicy

RETRIED_STATUSES = frozenset({502, 503, 504})
"""Answers that another region may better: Envoy's ``gateway-error``."""

MISSES = 2
"""How often a region is tried that takes nothing (it refuses, or can't be reached): one that is just restarting gets a
second chance. Attempts that sent something are limited by the service."""

HEDGE_SHARE = 0.5
"""Hedges leave the other half of the budget to retries: a slow region must not use up what a dead one will need."""


class Failure(Exception):
    """An attempt brought no answer.

    `sent`: the request may have been executed. `refused`: the far side said that it did not execute it. `elsewhere`:
    another region could still do better. `retry_after_s`: when the client may try again. A region that refused and says
    this is not asked again for the same request: waiting here would pile up requests before a region without room.
    """

    def __init__(
        self,
        message: str,
        *,
        sent: bool,
        refused: bool = False,
        elsewhere: bool = True,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.sent = sent
        self.refused = refused
        self.elsewhere = elsewhere
        self.retry_after_s = retry_after_s


class Body(Protocol):
    """A request's body. `replayable`: it may be sent once more."""

    @property
    def replayable(self) -> bool: ...


class Remaining(Protocol):
    """A deadline, as `atoll.resilience.deadline.Deadline` is one."""

    @property
    def remaining_s(self) -> float: ...


class Repeatable(Protocol):
    """What has to be known of a request."""

    attempts_made: int
    """Request heads sent so far. Whoever sends counts them when an attempt ends; those of attempts that a hedge or its
    request's end cut short are counted here."""

    @property
    def method(self) -> str: ...

    @property
    def keyed(self) -> bool: ...

    @property
    def replay_safe(self) -> bool:
        """Whether it may be sent twice, though it may have been executed."""

    @property
    def body(self) -> Body: ...

    @property
    def deadline(self) -> Remaining: ...


class Answer(Protocol):
    """What has to be known of a response."""

    @property
    def status(self) -> int: ...


RequestT = TypeVar("RequestT", bound=Repeatable)
ResponseT = TypeVar("ResponseT", bound=Answer)

Send = Callable[[RequestT, str], Awaitable[ResponseT]]
"""Makes one attempt in a region: returns a response of whatever status, or raises a `Failure`."""


_Given_contra = TypeVar("_Given_contra", contravariant=True)


class Exchange(Protocol[_Given_contra]):
    """What depends on the protocol that is spoken."""

    def final(self, response: _Given_contra) -> bool:
        """Whether an answer of `RETRIED_STATUSES` says itself that it is not to be retried."""

    def retry_after_s(self, response: _Given_contra) -> float | None:
        """For how many seconds the region that answered so does not want to be asked again; None if it didn't say."""

    def discard(self, response: _Given_contra) -> None:
        """Lets go of a response that nobody will read."""

    def outcome_unknown(self, region: str, failure: Failure) -> Failure:
        """What the client is told of a request that may have been executed and must not be sent again."""


@dataclass(frozen=True, slots=True)
class AttemptsStatistics:
    """A snapshot of one service; counters since the start of this process."""

    hedges_sent: int
    hedges_won: int
    hedged_after_s: Mapping[str, float]
    """By region, how long an attempt there is waited for alone; only regions with enough samples."""


class Attempts(Generic[RequestT, ResponseT]):
    """Makes the attempts of all requests of one service, and knows how long they take in each region.

    Guarantees: every request head after a request's first is paid for from the budget (a region that took nothing
    costs nothing); no request is sent twice unless `replay` allows it; a cancellation of the caller's task always ends
    the request, and every attempt with it.
    """

    def __init__(
        self,
        send: Send[RequestT, ResponseT],
        exchange: Exchange[ResponseT],
        clock: Clock,
        chance: random.Random,
        *,
        retry: RetryPolicy,
        hedge: HedgePolicy,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.send = send
        self.exchange = exchange
        self.now = clock.monotonic
        self.sleep = sleep
        self.jitter = _FullJitter(retry, chance)
        self._clock = clock
        self._chance = chance
        self._hedge_policy = hedge
        self._timers: dict[str, HedgeTimer[RequestT, ResponseT]] = {}
        self._hedges_sent = 0
        self._hedges_won = 0

    def use(self, retry: RetryPolicy, hedge: HedgePolicy) -> None:
        """Takes up other policies; durations are kept."""
        self.jitter = _FullJitter(retry, self._chance)
        self._hedge_policy = hedge
        for timer in self._timers.values():
            timer.use(hedge)

    async def once(self, request: RequestT, region: str) -> ResponseT:
        """One attempt, for a request whose further ones are another's to make. Raises a `Failure`."""
        try:
            return await self.send(request, region)
        except Failure as failure:
            self.check(request, region, failure)
            raise

    async def __call__(
        self, request: RequestT, regions: tuple[str, ...], limit: int, budget: Budget
    ) -> ResponseT:
        """Attempts in `regions`, best first, of which at most `limit` send something. Raises a `Failure`."""
        budget.deposit()
        region = regions[0]
        timer = self._timers.get(region)
        if timer is None:
            timer = self._new_timer(region)
        race: Race[RequestT, ResponseT] | None = None
        started = self.now()
        if (
            timer.delay_s is not None
            and limit > 1
            and len(regions) > 1
            and request.replay_safe
            and request.body.replayable
        ):
            race = Race(request, regions, budget, cast("asyncio.Task[object]", asyncio.current_task()))
            timer.enter(race, started)
        try:
            response = await self.send(request, region)
        except Failure as failure:
            if race is not None:
                timer.leave(race)
                if race.hedge is not None:
                    request.attempts_made -= 1
                    if race.won() or await self._rescued(race):
                        return self._hedged(race)
            self.check(request, region, failure)
            course = _Course(self, request, regions, limit, budget, race)
            course.failed(region, failure, missed=request.attempts_made == 0)
        except BaseException as error:
            if race is None:
                raise
            timer.leave(race)
            if not race.won() or not isinstance(error, asyncio.CancelledError):
                self._drop(race)
                raise
            timer.cut_short(self.now() - started)
            return self._hedged(race)
        else:
            if race is not None:
                timer.leave(race)
                if race.hedge is not None:
                    request.attempts_made -= 1
                    if await self._overtaken(race, response):
                        return self._hedged(race)
            if response.status not in RETRIED_STATUSES:
                timer.add(self.now() - started)
                return response
            if not self.repeatable(request, response):
                return response
            course = _Course(self, request, regions, limit, budget, race)
            course.answered(region, response, missed=request.attempts_made == 0)
        return await course.run()

    def statistics(self) -> AttemptsStatistics:
        return AttemptsStatistics(
            hedges_sent=self._hedges_sent,
            hedges_won=self._hedges_won,
            hedged_after_s={
                region: timer.delay_s for region, timer in self._timers.items() if timer.delay_s is not None
            },
        )

    # --- also for the course of a request that failed ---

    def took(self, region: str, seconds: float) -> None:
        """An attempt in `region` brought an answer after `seconds`."""
        timer = self._timers.get(region) or self._new_timer(region)
        timer.add(seconds)

    def repeatable(self, request: RequestT, response: ResponseT) -> bool:
        """Whether a request may be sent again for a better answer than one of `RETRIED_STATUSES`."""
        return not self.exchange.final(response) and request.replay_safe and request.body.replayable

    def check(self, request: RequestT, region: str, failure: Failure) -> None:
        """Lets a failure pass that another attempt may mend; raises what the client is told otherwise."""
        if not failure.elsewhere:
            raise failure
        verdict = replay(
            request.method, bytes_left=failure.sent, refused=failure.refused, keyed=request.keyed
        )
        # An idempotent method is not all: a request that opens a tunnel is not sent twice either.
        if not verdict.allowed or (verdict is Replay.IDEMPOTENT and not request.replay_safe):
            raise self.exchange.outcome_unknown(region, failure) from failure
        if not request.body.replayable:
            raise failure

    # --- hedging ---

    def _new_timer(self, region: str) -> HedgeTimer[RequestT, ResponseT]:
        timer = self._timers[region] = HedgeTimer(self._clock, self._hedge_policy, self._start_hedge)
        return timer

    def _start_hedge(self, race: Race[RequestT, ResponseT]) -> None:
        receipt = race.budget.try_withdraw(HEDGE_SHARE)
        if receipt:
            # The first attempt's head is counted now, so that the hedge is known to be a further attempt. Ends the
            # first by itself, it is counted by whoever sent it, and taken off here; else it stays.
            race.request.attempts_made += 1
            race.hedge = asyncio.get_running_loop().create_task(self._hedge(race, receipt))

    async def _hedge(self, race: Race[RequestT, ResponseT], receipt: int) -> None:
        """The second attempt. If it fails, the first just goes on."""
        request, region = race.request, race.regions[1]
        heads, started = request.attempts_made, self.now()
        try:
            response = await self.send(request, region)
        except Failure as failure:
            if not failure.sent and request.attempts_made == heads:
                race.budget.give_back(receipt)
            else:
                self._hedges_sent += 1
            race.not_before = self.now() + (failure.retry_after_s or 0.0)
            return
        except asyncio.CancelledError:
            self._hedges_sent += 1
            raise
        self._hedges_sent += 1
        if response.status in RETRIED_STATUSES:
            race.not_before = self.now() + (self.exchange.retry_after_s(response) or 0.0)
            self.exchange.discard(response)
            return
        self.took(region, self.now() - started)
        if race.closed:  # it did not hear that it was cancelled
            self.exchange.discard(response)
        else:
            race.win(response)

    async def _rescued(self, race: Race[RequestT, ResponseT]) -> bool:
        """The first attempt failed: waits for the hedge, and says whether it brought an answer."""
        hedge = race.hedge
        assert hedge is not None, "asked of hedged requests alone"
        try:
            await asyncio.wait((hedge,))
        except asyncio.CancelledError:
            self._drop(race)
            raise
        hedge.result()
        return race.answer is not None

    async def _overtaken(self, race: Race[RequestT, ResponseT], response: ResponseT) -> bool:
        """The first attempt was answered: says whether the hedge's answer counts nevertheless; ends it if not."""
        overtaken = race.won()
        try:
            if not overtaken and response.status in RETRIED_STATUSES:
                overtaken = await self._rescued(race)
            elif not overtaken:
                self._drop(race)
                await asyncio.sleep(0)  # the hedge notes that it was cancelled before the answer goes out
        except BaseException:
            self.exchange.discard(response)
            raise
        if overtaken:
            self.exchange.discard(response)
        return overtaken

    def _hedged(self, race: Race[RequestT, ResponseT]) -> ResponseT:
        answer, race.answer = race.answer, None
        assert answer is not None, "a hedge wins with an answer"
        self._hedges_won += 1
        race.budget.succeeded()
        return answer

    def _drop(self, race: Race[RequestT, ResponseT]) -> None:
        """Ends the hedge, if it runs, and lets go of its answer, if there is one."""
        race.closed = True
        if race.hedge is not None and race.hedge.cancel():
            race.request.attempts_made += 1
        if race.answer is not None:
            self.exchange.discard(race.answer)
            race.answer = None


class _Course(Generic[RequestT, ResponseT]):
    """What became of a request whose first attempt failed: where it has been, and where it may still go."""

    __slots__ = (
        "_answer",
        "_attempts",
        "_budget",
        "_failure",
        "_limit",
        "_misses",
        "_not_before",
        "_region",
        "_regions",
        "_request",
    )

    def __init__(
        self,
        attempts: Attempts[RequestT, ResponseT],
        request: RequestT,
        regions: tuple[str, ...],
        limit: int,
        budget: Budget,
        race: Race[RequestT, ResponseT] | None,
    ) -> None:
        self._attempts = attempts
        self._request = request
        self._regions = regions
        self._limit = limit
        self._budget = budget
        self._misses: dict[str, int] = {}
        """Of every region that was tried, how often it took nothing."""
        self._not_before: dict[str, float] = {}
        self._failure: Failure | None = None
        self._answer: ResponseT | None = None
        """The newest answer; it is given to the client if nothing better comes."""
        self._region: str | None = None
        """Where the next attempt goes; None before the first turn, and when no region is left."""
        if race is not None and race.hedge is not None:
            self._misses[regions[1]] = 0
            self._not_before[regions[1]] = race.not_before

    def failed(self, region: str, failure: Failure, *, missed: bool) -> None:
        """An attempt brought nothing."""
        self._failure = failure
        out = failure.refused and failure.retry_after_s is not None
        self._tried(region, misses=MISSES if out else int(missed))

    def answered(self, region: str, response: ResponseT, *, missed: bool) -> None:
        """An attempt brought an answer that another one may better."""
        self._let_go()
        self._answer = response
        self._tried(
            region, misses=int(missed), pause_s=self._attempts.exchange.retry_after_s(response) or 0.0
        )

    async def run(self) -> ResponseT:
        """Makes the attempts that are left. Returns the best answer or raises the last failure."""
        retrying = AsyncRetrying(
            sleep=self._attempts.sleep,
            wait=self._wait,
            stop=self._stop,
            retry=_UNDECIDED,
            retry_error_callback=self._end,
        )
        try:
            return cast("ResponseT", await retrying(self._turn))
        finally:
            self._let_go()

    async def _turn(self) -> ResponseT | None:
        """One attempt; None if another one may still do better. The first turn is the attempt that has been made."""
        attempts, request, region = self._attempts, self._request, self._region
        if region is None:
            return None
        heads = request.attempts_made
        receipt = 0
        if heads:
            receipt = self._budget.try_withdraw()
            if not receipt:
                return self._end()
        started = attempts.now()
        try:
            response = await attempts.send(request, region)
        except Failure as failure:
            missed = request.attempts_made == heads
            if missed and receipt:
                self._budget.give_back(receipt)
            attempts.check(request, region, failure)
            self.failed(region, failure, missed=missed)
            return None
        if response.status in RETRIED_STATUSES:
            if not attempts.repeatable(request, response):
                return response
            self.answered(region, response, missed=request.attempts_made == heads)
            return None
        attempts.took(region, attempts.now() - started)
        if receipt:
            self._budget.succeeded()
        return response

    def _wait(self, state: RetryCallState) -> float:
        """Chooses the region of the next attempt, and how long to pause before it."""
        for region in self._regions:
            if region not in self._misses:
                self._region = region
                return 0.0
        now, not_before = self._attempts.now(), self._not_before
        left = [region for region in self._regions if self._misses[region] < MISSES]
        if not left:
            self._region = None
            return 0.0
        self._region = min(left, key=lambda region: max(now, not_before[region]))
        return max(self._attempts.jitter(state), not_before[self._region] - now)

    def _stop(self, state: RetryCallState) -> bool:
        """Whether the client gets what there is: no region, attempt, time or budget is left."""
        if self._region is None:
            return True
        made, budget = self._request.attempts_made, self._budget
        if made >= self._limit:
            budget.limit_exceeded()
            return True
        pause = state.upcoming_sleep
        if pause == 0.0:
            return False
        if made and budget.balance < 1:
            budget.overflow()
            return True
        return pause >= self._request.deadline.remaining_s

    def _end(self, state: RetryCallState | None = None) -> ResponseT:
        answer, self._answer = self._answer, None
        if answer is not None:
            return answer
        assert self._failure is not None, "an attempt either answers or fails"
        raise self._failure

    def _tried(self, region: str, *, misses: int, pause_s: float = 0.0) -> None:
        self._misses[region] = self._misses.get(region, 0) + misses
        self._not_before[region] = self._attempts.now() + pause_s

    def _let_go(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            self._attempts.exchange.discard(answer)


class _FullJitter(wait_exponential):
    """tenacity's `wait_random_exponential`, from a random source that tests and the simulator own."""

    def __init__(self, policy: RetryPolicy, chance: random.Random) -> None:
        super().__init__(multiplier=policy.base_s, max=policy.cap_s)
        self._chance = chance

    def __call__(self, retry_state: RetryCallState) -> float:
        return self._chance.uniform(0.0, super().__call__(retry_state))


_UNDECIDED = retry_if_result(lambda response: response is None)
"""tenacity's word for going on; it keeps nothing, so that one serves all."""
