"""Regions that answer by a script, on virtual time: what the tests of attempts and hedges share."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from atoll.resilience.attempts import Attempts, Failure
from atoll.resilience.budget import Budget, RetryBudget
from atoll.resilience.deadline import Deadline
from atoll.resilience.replay import IDEMPOTENT_METHODS
from atoll.simulate.loop import VirtualLoop, run
from atoll.topology import HedgePolicy, RetryPolicy

REGIONS = ("a", "b", "c")
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Response:
    region: str
    status: int
    retry_after_s: float | None = None
    final: bool = False
    discarded: int = 0


@dataclass(slots=True)
class Body:
    replayable: bool = True


@dataclass(slots=True)
class Request:
    deadline: Deadline
    method: str = "GET"
    keyed: bool = False
    body: Body = field(default_factory=Body)
    attempts_made: int = 0
    tunnel: bool = False

    @property
    def replay_safe(self) -> bool:
        return (self.method in IDEMPOTENT_METHODS and not self.tunnel) or self.keyed


@dataclass(frozen=True, slots=True)
class Step:
    """What a region does with an attempt: a status, or ``lost``, ``unreachable``, ``refused``, ``bug``."""

    does: int | str = 200
    after_s: float = 0.01
    retry_after_s: float | None = None
    final: bool = False
    deaf: bool = False
    """Whether it goes on when it is cancelled, and answers all the same."""


class OutcomeUnknown(Failure):
    """What the client is told of a request that must not be sent again."""


class Regions:
    """Sends by script: a step for each attempt in a region, the last one for all that follow."""

    def __init__(self, clock: Callable[[], float], script: dict[str, list[Step]]) -> None:
        self._now = clock
        self.script = script
        self.begun: list[tuple[float, str]] = []
        self.cancelled: list[str] = []
        self.responses: list[Response] = []

    @property
    def order(self) -> str:
        return "".join(region for _, region in self.begun)

    async def send(self, request: Request, region: str) -> Response:
        steps = self.script[region]
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        self.begun.append((self._now(), region))
        try:
            if step.after_s:
                await asyncio.sleep(step.after_s)
        except asyncio.CancelledError:
            self.cancelled.append(region)
            if not step.deaf:
                raise
        match step.does:
            case "bug":
                raise ZeroDivisionError
            case "unreachable":
                raise Failure("unreachable", sent=False, retry_after_s=step.retry_after_s)
            case "refused":
                raise Failure("refused", sent=False, refused=True, retry_after_s=step.retry_after_s)
            case "dead end":
                raise Failure("dead end", sent=False, elsewhere=False)
            case "lost":
                request.attempts_made += 1
                raise Failure("lost", sent=True)
        request.attempts_made += 1
        assert isinstance(step.does, int)
        response = Response(region, step.does, step.retry_after_s, step.final)
        self.responses.append(response)
        return response

    def final(self, response: Response) -> bool:
        return response.final

    def retry_after_s(self, response: Response) -> float | None:
        return response.retry_after_s

    def discard(self, response: Response) -> None:
        response.discarded += 1

    def outcome_unknown(self, region: str, failure: Failure) -> Failure:
        return OutcomeUnknown(region, sent=True)


class Bench:
    """Attempts over scripted regions, on a virtual loop."""

    def __init__(
        self,
        script: dict[str, list[Step]],
        *,
        budget: Budget | None = None,
        retry: RetryPolicy | None = None,
        hedge: HedgePolicy | None = None,
        seed: int = 1,
    ) -> None:
        self.loop = VirtualLoop()
        self.clock = self.loop.clock
        policy = retry or RetryPolicy()
        self.regions = Regions(self.clock.monotonic, script)
        self.budget = RetryBudget(self.clock, policy) if budget is None else budget
        self.attempts = Attempts[Request, Response](
            self.regions.send,
            self.regions,
            self.clock,
            random.Random(seed),
            retry=policy,
            hedge=hedge or HedgePolicy(),
        )

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        return run(self.loop, main)

    def request(
        self,
        method: str = "GET",
        *,
        keyed: bool = False,
        timeout_s: float = 3.0,
        tunnel: bool = False,
        replayable: bool = True,
    ) -> Request:
        return Request(
            Deadline(self.clock, timeout_s), method, keyed=keyed, tunnel=tunnel, body=Body(replayable)
        )

    async def ask(
        self, request: Request | None = None, regions: tuple[str, ...] = REGIONS, limit: int = 3
    ) -> Response:
        return await self.attempts(request or self.request(), regions, limit, self.budget)

    async def warm_up(self, seconds: float = 0.02, region: str = "a", samples: int = 20) -> None:
        """Makes it known how long attempts in a region take."""
        for _ in range(samples):
            self.attempts.took(region, seconds)
