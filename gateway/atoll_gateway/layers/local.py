"""The own region: straight to a replica."""

import asyncio

from atoll.resilience.lane import FULL_HOSTS
from atoll_gateway import problems
from atoll_gateway.answer import take_answer
from atoll_gateway.message import Failed, Request, Response
from atoll_gateway.replicas import Group, Replica, Replicas
from atoll_gateway.request_head import RequestHead
from atoll_gateway.serve_refusal import ServeRefusal, serve_refusal
from atoll_gateway.upstream_errors import (
    Abandoned,
    ConnectFailed,
    RequestNotSent,
    ResponseLost,
    UpstreamError,
)

FAILURES = frozenset({502, 503, 504})
"""Answers that speak against a replica: Envoy's ``gateway-error``. A 500 speaks against the request."""


class Local:
    """Sends a request to a replica of the own region.

    A replica that refuses is ejected and another one is tried: nothing was sent. One that is full stays, and another is
    tried. One that dies with the request fails the attempt; the next one leaves the region, which may be dying with it.
    One that turns out to be another service's is treated as one that refuses.
    """

    def __init__(self, replicas: Replicas, head: RequestHead) -> None:
        self._head = head
        self._replicas = replicas

    async def __call__(self, request: Request, region: str) -> Response:
        service = request.service.name
        group = self._replicas.of(service)
        tried: frozenset[Replica] = frozenset()
        full = 0
        while (replica := group.pick(tried)) is not None:
            began = group.begin(replica)
            try:
                response = await self._send(request, region, replica)
            except ConnectFailed:
                group.refused(replica)
                tried |= {replica}
                continue
            except UpstreamError as error:
                request.attempts_made += error.bytes_sent
                raise Failed(
                    problems.lost(region, str(error)),
                    sent=error.bytes_sent,
                    isolated=_isolated(group, replica, error),
                ) from error
            except asyncio.CancelledError:
                group.given_up(replica, began)
                raise
            request.attempts_made += 1
            if response.status not in FAILURES and response.status != 404:
                group.succeeded(replica, began)
                return response
            match serve_refusal(response):
                case ServeRefusal.STRAY:
                    group.refused(replica)
                    tried |= {replica}
                    if not request.body.replayable:
                        break
                case ServeRefusal.FULL:
                    group.alive(replica)
                    full += 1
                    if full >= min(FULL_HOSTS, group.live) or not request.body.replayable:
                        break
                    tried |= {replica}
                    request.attempts_made -= 1  # it took nothing: another one is asked in its stead
                case ServeRefusal.BEHIND:
                    group.succeeded(replica, began)
                    raise Failed(problems.behind(service, region), sent=False, refused=True, retry_after_s=1)
                case None:
                    if response.status == 404:
                        group.succeeded(replica, began)
                    else:
                        group.failed(replica, answered=True)
                    return response
        problem = problems.full if full else problems.no_replica
        raise Failed(problem(service, region), sent=False, refused=True, retry_after_s=1)

    async def _send(self, request: Request, region: str, replica: Replica) -> Response:
        streams = False
        try:
            body = request.body.open()
            answer = await replica.upstream.send(
                self._head.to_replica(request),
                body,
                method=request.method,
                upgrade=request.upgrade,
                repeatable=isinstance(body, bytes) and request.replay_safe and not request.upgrade,
            )
            response = await take_answer(answer, region, replica.done)
            streams = response.close is not None
        finally:
            if not streams:
                replica.done()
        return response


def _isolated(group: Group, replica: Replica, error: UpstreamError) -> bool:
    """Counts a lost request against its replica, if it was the replica that lost it; whether it is the only one."""
    if isinstance(error, RequestNotSent):
        return False
    if isinstance(error, Abandoned) or (isinstance(error, ResponseLost) and error.reused):
        return group.live > 0  # taken back; or a kept connection that was closed for idleness just then
    return group.failed(replica, answered=False)
