"""Sends a request to the next region when one fails, if it may be sent again.

The first Atoll hop owns attempts across regions; a forwarded request has one region, its own. What may be sent twice
is decided in `atoll.resilience.replay`.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

from atoll.resilience.replay import replay
from atoll_gateway import problems
from atoll_gateway.message import Failed, Request, Response

RETRIED_STATUSES = frozenset({502, 503, 504})
"""Answers that another region may better: Envoy's ``gateway-error``."""

ROUNDS = 2
"""Every region is tried once, and if attempts are left, once more: a region with one broken gateway may have others."""

PAUSE_S = 0.05
"""The longest pause before the second round, drawn with full jitter."""

Region = Callable[[Request, str], Awaitable[Response]]


class Failover:
    """Tries the regions in their order."""

    def __init__(self, region: str | None, chance: random.Random, following: Region) -> None:
        self._own = region
        self._chance = chance
        self._next = following

    async def __call__(self, request: Request) -> Response:
        ranking = request.ranking
        regions = ranking.regions if ranking is not None else (self._own or "",)
        rounds = 1 if request.forwarded else ROUNDS
        limit = request.service.max_attempts
        failure: Failed | None = None
        answer: Response | None = None
        for turn in range(rounds):
            if turn:
                if request.attempts_made >= limit:
                    break
                await asyncio.sleep(self._chance.uniform(0.0, PAUSE_S))
            for region in regions:
                if request.attempts_made >= limit and (failure or answer):
                    break
                try:
                    response = await self._next(request, region)
                except Failed as error:
                    _check_replay(request, region, error)
                    failure = error
                    continue
                _discard(answer)
                if response.status not in RETRIED_STATUSES or not _may_repeat(request):
                    return response
                answer = response
        if answer is not None:
            return answer
        assert failure is not None, "an attempt either answers or fails"
        raise failure


def _may_repeat(request: Request) -> bool:
    """Whether a request that has been answered may be sent again for a better answer."""
    return request.body.replayable and replay(request.method, bytes_left=True, refused=False).allowed


def _check_replay(request: Request, region: str, error: Failed) -> None:
    """Lets a failure pass that another attempt may mend; raises what the client is told otherwise."""
    if not error.elsewhere:
        raise error
    if not replay(request.method, bytes_left=error.sent, refused=error.refused).allowed:
        raise Failed(problems.outcome_unknown(region, str(error)), sent=True) from error
    if not request.body.replayable:
        raise error


def _discard(response: Response | None) -> None:
    if response is not None and response.close is not None:
        response.close()
