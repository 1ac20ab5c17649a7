"""Decides at the door whether a request is taken on: by its rate limits, and by whether anybody has a place for it.

The measure of overload is the bulkheads of the regions: what they learn from latency, refusals and reported capacity is
their limit. A request that all of them would turn away, at its criticality, is turned away here, before anything is
asked or waited for. Nothing that could be served is: while one region has a place, it goes on. The least critical alone
are turned away sooner, while more is asked of all regions together than they take and each is filled as far as they may
fill it: that is when one has just been lost, and the others are about to receive its requests.

A forwarded request was admitted by the first hop.
"""

from collections.abc import Awaitable
from math import ceil

from atoll.resilience.criticality import Criticality
from atoll.telemetry.metrics import GatewayMetrics
from atoll_gateway import problems
from atoll_gateway.board import Board
from atoll_gateway.http.problem import CONTENT_TYPE, Problem
from atoll_gateway.layers.region import InRegion
from atoll_gateway.message import Headers, Layer, Request, Response
from atoll_gateway.rate_limits import RateLimits, ServiceLimits, client_key

RETRY_AFTER_S = 1
"""Of a request that found no place: overload is reconsidered several times a second."""


class Admission:
    """The outermost layer."""

    def __init__(
        self,
        limits: RateLimits,
        board: Board,
        regions: InRegion,
        metrics: GatewayMetrics,
        following: Layer,
    ) -> None:
        self._limits = limits
        self._board = board
        self._regions = regions
        self._metrics = metrics
        self._next = following

    def __call__(self, request: Request) -> Awaitable[Response]:
        """No coroutine of its own where there is nothing to do: that is a request in nearly every case."""
        name = request.service.name
        if request.forwarded:
            return self._next(request)
        if (name in self._regions.pressed and self._full(request)) or (
            request.criticality is Criticality.SHEDDABLE
            and self._board.pressure(request.service, request.zones) > 1.0
        ):
            return self._refuse(request, problems.overloaded(name), RETRY_AFTER_S, [])
        limits = self._limits.services.get(name)
        if limits is not None:
            return self._limited(request, limits)
        return self._next(request)

    async def _limited(self, request: Request, limits: ServiceLimits) -> Response:
        # What one service asks of another in the course of a request was the client's one request.
        key = None if request.nested else client_key(request.client)
        wait_s = limits.take(key)
        if wait_s > 0.0:
            problem = problems.rate_limited(request.service.name, ceil(wait_s))
            return await self._refuse(request, problem, ceil(wait_s), limits.headers(key))
        response = await self._next(request)
        response.headers += limits.headers(key)
        return response

    def _full(self, request: Request) -> bool:
        ranking = self._board.ranking(request.service, request.zones, request.place)
        return self._regions.full(request.service.name, ranking.regions, request.criticality)

    async def _refuse(
        self, request: Request, problem: Problem, retry_after_s: int, headers: Headers
    ) -> Response:
        self._metrics.problem(problem.type)
        body = problem.body(request.id)
        return Response(
            problem.status,
            [
                (b"content-type", CONTENT_TYPE),
                (b"content-length", b"%d" % len(body)),
                (b"retry-after", b"%d" % retry_after_s),
                *headers,
            ],
            body,
            None,
        )
