"""Sends a request to the next region when one fails, and to a second one when the first is slow.

The first Atoll hop owns attempts across regions; a forwarded request has one attempt in one region, its own. How it is
done stands in `atoll.resilience.attempts`, what may be sent twice in `atoll.resilience.replay`.
"""

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from atoll.calls import NO_RETRY
from atoll.clock import Clock
from atoll.resilience.attempts import Attempts, AttemptsStatistics, Failure
from atoll.resilience.budget import Budget, BudgetStatistics, RetryBudget
from atoll.resilience.pace import Behind
from atoll.topology import Topology
from atoll_gateway import problems
from atoll_gateway.headers import first
from atoll_gateway.message import Failed, Request, Response

Region = Callable[[Request, str], Awaitable[Response]]


@dataclass(slots=True)
class ServiceRetries:
    """What the attempts of one service share; for as long as the process lives, whatever topology is in force."""

    attempts: Attempts[Request, Response]
    budget: Budget


@dataclass(frozen=True, slots=True)
class RetryStatistics:
    """A snapshot of one service."""

    budget: BudgetStatistics
    attempts: AttemptsStatistics


class Retry:
    """Makes the attempts of every request, under one budget a service."""

    def __init__(self, region: str | None, clock: Clock, chance: random.Random, following: Region) -> None:
        self._own = region or ""
        self._clock = clock
        self._chance = chance
        self._next = following
        self._exchange = HttpExchange(clock)
        self.services: dict[str, ServiceRetries] = {}

    def use(self, topology: Topology) -> None:
        """Takes up a topology. Budgets and durations are kept, also those of services that it has no more."""
        for name in topology.services:
            known = self.services.get(name)
            if known is None:
                self.services[name] = ServiceRetries(
                    Attempts(
                        self._next,
                        self._exchange,
                        self._clock,
                        self._chance,
                        retry=topology.retry,
                        hedge=topology.hedge,
                    ),
                    RetryBudget(self._clock, topology.retry),
                )
            else:
                known.attempts.use(topology.retry, topology.hedge)
                known.budget.use(topology.retry)

    def __call__(self, request: Request) -> Awaitable[Response]:
        service = request.service
        its = self.services[service.name]
        if request.forwarded:
            return its.attempts.once(request, self._own)
        assert request.ranking is not None, "routing comes first"
        payer = its if request.root == service.name else self.services.get(request.root, its)
        limit = 1 if request.again else service.max_attempts
        return its.attempts(request, request.ranking.draw(self._chance), limit, payer.budget)

    def behind(self, service: str, region: str) -> Behind | None:
        """Which region answers a service's requests sooner, while this one is to be passed over for that."""
        its = self.services.get(service)
        return None if its is None else its.attempts.behind(region)

    def statistics(self) -> Mapping[str, RetryStatistics]:
        """A snapshot a service."""
        return {
            name: RetryStatistics(its.budget.statistics(), its.attempts.statistics())
            for name, its in self.services.items()
        }


class HttpExchange:
    """What answers and failures mean in HTTP."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def final(self, response: Response) -> bool:
        """Whether the service says that what failed was retried further down already; takes the word out."""
        if first(response.headers, NO_RETRY) is None:
            return False
        response.headers = [pair for pair in response.headers if pair[0] != NO_RETRY]
        return True

    def retry_after_s(self, response: Response) -> float | None:
        """``Retry-After`` in seconds or as a date (RFC 9110, section 10.2.3); None if absent or neither."""
        value = first(response.headers, b"retry-after")
        if value is None:
            return None
        if value.isdigit():
            return float(value)
        try:
            date = parsedate_to_datetime(value.decode("latin-1"))
        except ValueError:
            return None
        return max(0.0, date.timestamp() - self._clock.wall())

    def discard(self, response: Response) -> None:
        if response.close is not None:
            response.close()

    def outcome_unknown(self, region: str, failure: Failure) -> Failure:
        return Failed(problems.outcome_unknown(region, str(failure)), sent=True)
