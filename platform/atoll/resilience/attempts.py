"""The attempts of one request: first in the best region, then where it may still be mended.

The first attempt is a bare call. What follows a failure is driven by tenacity: it leaves the region that failed, is
paid for from the service's budget, and waits with full jitter before a region is asked again. Only an attempt that may
be repeated is: see `atoll.resilience.replay`. Any attempt that takes long may be hedged: see `atoll.resilience.hedge`.

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
from atoll.resilience.hedge import HedgeTimer, Race, Remaining
from atoll.resilience.pace import Behind
from atoll.resilience.replay import Replay, replay
from atoll.resilience.tried import Tried
from atoll.topology import HedgePolicy, RetryPolicy

RETRIED_STATUSES = frozenset({502, 503, 504})
"""Answers that another region may better: Envoy's ``gateway-error``."""

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
    """By region, how long an attempt there is waited for alone; only regions where attempts were made."""
    behind: Mapping[str, Behind]
    """Regions that are passed over because another one answers the same requests sooner."""


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
            task = cast("asyncio.Task[object]", asyncio.current_task())
            race = Race(request, region, regions, limit, budget, task)
            timer.enter(race, started)
        try:
            response = await self.send(request, region)
        except BaseException as error:
            if race is not None and await self._rescued(race, timer, started, error):
                return self._hedged(race)
            if not isinstance(error, Failure):
                raise
            self.check(request, region, error)
            course = _Course(self, request, regions, limit, budget, None if race is None else race.tried)
            course.failed(region, error)
        else:
            if race is not None:
                timer.leave(race)
                if race.hedges and await self._overtaken(race, timer, response):
                    return self._hedged(race)
            if response.status not in RETRIED_STATUSES:
                timer.add(self.now() - started)
                return response
            if not self.repeatable(request, response):
                return response
            course = _Course(self, request, regions, limit, budget, None if race is None else race.tried)
            course.answered(region, response, missed=request.attempts_made == 0)
        return await course.run()

    async def further(
        self, race: Race[RequestT, ResponseT], receipt: int, *, hedged: bool
    ) -> tuple[str, ResponseT]:
        """An attempt after the first, in `race.region`: which region answered, and how. Raises a `Failure`."""
        request, region = race.request, race.region
        timer = self._timers.get(region) or self._new_timer(region)
        hedged = hedged and timer.delay_s is not None
        started = self.now()
        if hedged:
            timer.enter(race, started)
        try:
            response = await self.send(request, region)
        except BaseException as error:
            if hedged and await self._rescued(race, timer, started, error):
                return race.winner, self._hedged(race)
            raise
        if hedged:
            timer.leave(race)
            if race.hedges and await self._overtaken(race, timer, response):
                return race.winner, self._hedged(race)
        if response.status not in RETRIED_STATUSES:
            timer.add(self.now() - started)
            if receipt:
                race.budget.succeeded()
        return region, response

    def behind(self, region: str) -> Behind | None:
        """Which region answers the same requests sooner, while `region` is to be passed over for that."""
        timer = self._timers.get(region)
        return None if timer is None else timer.pace.behind

    def statistics(self) -> AttemptsStatistics:
        return AttemptsStatistics(
            hedges_sent=self._hedges_sent,
            hedges_won=self._hedges_won,
            hedged_after_s={
                region: timer.delay_s for region, timer in self._timers.items() if timer.delay_s is not None
            },
            behind={
                region: behind
                for region, timer in self._timers.items()
                if (behind := timer.pace.behind) is not None
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
        """An attempt of a race has taken too long: sends the next one, if there may be one."""
        if race.closed or race.answer is not None:
            return
        # Paid for before a region is taken: what is not sent must not count as an attempt, nor its region as tried.
        receipt = race.budget.try_withdraw(HEDGE_SHARE)
        if not receipt:
            return
        region = self._next(race)
        if region is None:
            race.budget.give_back(receipt)
            return
        hedge = self._hedge(race, region, receipt)
        race.hedges += (asyncio.get_running_loop().create_task(hedge),)

    def _next(self, race: Race[RequestT, ResponseT]) -> str | None:
        """Where a hedge may go: its head is within the limit, and no attempt was begun there. Takes it."""
        request = race.request
        if request.attempts_made + (not race.decided) >= race.limit:
            return None
        tried = race.tried
        if tried is None:
            tried = race.tried = Tried()
            tried.begin(race.region)
        region = tried.fresh(race.regions)
        if region is not None:
            tried.begin(region)
            # The head of a hedge is counted now, so that it is known to be a further attempt. Ends it by itself, it is
            # counted by whoever sent it, and taken off; else it stays.
            request.attempts_made += 1
        return region

    async def _hedge(self, race: Race[RequestT, ResponseT], region: str, receipt: int) -> None:
        """Attempts against one that is slow, one region after the other. If they fail, the slow one just goes on."""
        request, tried = race.request, race.tried
        assert tried is not None, "made before the first hedge"
        following: str | None = region
        while following is not None:
            region = following
            if not receipt:
                receipt = race.budget.try_withdraw(HEDGE_SHARE)
                if not receipt:
                    request.attempts_made -= 1
                    return
            timer = self._timers.get(region) or self._new_timer(region)
            started = self.now()
            if timer.delay_s is not None:
                timer.enter(race, started)
            try:
                response = await self.send(request, region)
            except Failure as failure:
                request.attempts_made -= 1
                tried.wait(region, self.now() + (failure.retry_after_s or 0.0))
                if failure.sent:
                    receipt = 0
                    self._hedges_sent += 1
                if not failure.elsewhere:
                    break
            except asyncio.CancelledError:
                self._hedges_sent += 1
                raise
            else:
                request.attempts_made -= 1
                self._hedges_sent += 1
                receipt = 0
                if response.status not in RETRIED_STATUSES:
                    timer.add(self.now() - started)
                    if race.closed or race.answer is not None:  # it did not hear that it was cancelled
                        self.exchange.discard(response)
                    else:
                        race.win(response, region)
                    return
                tried.wait(region, self.now() + (self.exchange.retry_after_s(response) or 0.0))
                self.exchange.discard(response)
            finally:
                timer.leave(race)
            if race.closed or race.answer is not None:
                break
            following = self._next(race)
        if receipt:
            race.budget.give_back(receipt)

    async def _rescued(
        self,
        race: Race[RequestT, ResponseT],
        timer: HedgeTimer[RequestT, ResponseT],
        started: float,
        error: BaseException,
    ) -> bool:
        """The attempt of a race brought nothing: says whether a hedge's answer counts, for which it waits."""
        timer.leave(race)
        if not race.hedges:
            return False
        won = race.won()
        if isinstance(error, Failure):
            return won or await self._answered(race)
        if not won or not isinstance(error, asyncio.CancelledError):
            self._drop(race)
            return False
        race.request.attempts_made += 1  # whoever sent it did not come to count it
        took = self.now() - started
        timer.cut_short(took)
        timer.pace.lost(race.winner, min(took, timer.delay_s or took))
        return True

    async def _overtaken(
        self,
        race: Race[RequestT, ResponseT],
        timer: HedgeTimer[RequestT, ResponseT],
        response: ResponseT,
    ) -> bool:
        """The attempt of a race was answered: says whether a hedge's answer counts nevertheless; ends them if not."""
        overtaken = race.won()
        try:
            if not overtaken and response.status in RETRIED_STATUSES:
                overtaken = await self._answered(race)
            elif not overtaken:
                timer.pace.kept_up()
                self._drop(race)
                await asyncio.sleep(0)  # the hedges note that they were cancelled before the answer goes out
        except BaseException:
            self.exchange.discard(response)
            raise
        if overtaken:
            self.exchange.discard(response)
        return overtaken

    async def _answered(self, race: Race[RequestT, ResponseT]) -> bool:
        """Waits for the hedges of an attempt that has ended, and says whether one brought an answer."""
        try:
            while race.answer is None and (running := [hedge for hedge in race.hedges if not hedge.done()]):
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._drop(race)
            raise
        for hedge in race.hedges:
            if hedge.done() and not hedge.cancelled():
                hedge.result()
        return race.answer is not None

    def _hedged(self, race: Race[RequestT, ResponseT]) -> ResponseT:
        answer, race.answer = race.answer, None
        assert answer is not None, "a hedge wins with an answer"
        self._drop(race)
        self._hedges_won += 1
        race.budget.succeeded()
        return answer

    def _drop(self, race: Race[RequestT, ResponseT]) -> None:
        """Ends the hedges that run, and lets go of their answer, if there is one."""
        race.closed = True
        for hedge in race.hedges:
            hedge.cancel()
        if race.answer is not None:
            self.exchange.discard(race.answer)
            race.answer = None


class _Course(Generic[RequestT, ResponseT]):
    """What became of a request whose first attempt failed, and what is still to be tried."""

    __slots__ = (
        "_answer",
        "_attempts",
        "_budget",
        "_failure",
        "_limit",
        "_region",
        "_regions",
        "_request",
        "_tried",
    )

    def __init__(
        self,
        attempts: Attempts[RequestT, ResponseT],
        request: RequestT,
        regions: tuple[str, ...],
        limit: int,
        budget: Budget,
        tried: Tried | None,
    ) -> None:
        self._attempts = attempts
        self._request = request
        self._regions = regions
        self._limit = limit
        self._budget = budget
        self._tried = Tried() if tried is None else tried
        self._failure: Failure | None = None
        self._answer: ResponseT | None = None
        """The newest answer; it is given to the client if nothing better comes."""
        self._region: str | None = None
        """Where the next attempt goes; None before the first turn, and when no region is left."""

    def failed(self, region: str, failure: Failure) -> None:
        """An attempt brought nothing."""
        self._failure = failure
        self._ended(region, missed=not failure.sent)
        if failure.refused and failure.retry_after_s is not None:
            self._tried.missed(region, out=True)

    def answered(self, region: str, response: ResponseT, *, missed: bool) -> None:
        """An attempt brought an answer that another one may better."""
        self._let_go()
        self._answer = response
        self._ended(region, missed=missed, pause_s=self._attempts.exchange.retry_after_s(response) or 0.0)

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
        task = cast("asyncio.Task[object]", asyncio.current_task())
        race = Race[RequestT, ResponseT](request, region, self._regions, self._limit, self._budget, task)
        race.tried = self._tried
        self._tried.begin(region)
        try:
            region, response = await attempts.further(
                race, receipt, hedged=request.replay_safe and request.body.replayable
            )
        except Failure as failure:
            if receipt and not failure.sent:
                self._budget.give_back(receipt)
            attempts.check(request, region, failure)
            self.failed(region, failure)
            return None
        if response.status in RETRIED_STATUSES and attempts.repeatable(request, response):
            self.answered(region, response, missed=request.attempts_made == heads)
            return None
        return response

    def _wait(self, state: RetryCallState) -> float:
        """Chooses the region of the next attempt, and how long to pause before it."""
        tried = self._tried
        self._region = tried.fresh(self._regions)
        if self._region is not None:
            return 0.0
        now, left = self._attempts.now(), tried.left(self._regions)
        if not left:
            return 0.0
        self._region = min(left, key=lambda region: max(now, tried.not_before(region)))
        return max(self._attempts.jitter(state), tried.not_before(self._region) - now)

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

    def _ended(self, region: str, *, missed: bool, pause_s: float = 0.0) -> None:
        self._tried.begin(region)
        if missed:
            self._tried.missed(region)
        self._tried.wait(region, self._attempts.now() + pause_s)

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
