"""Another region: over the link to one of its gateways, which serves the request from its own region or refuses it."""

import asyncio

from atoll.clock import Clock
from atoll.resilience.outlier import Hosts
from atoll_gateway import problems
from atoll_gateway.answer import take_answer
from atoll_gateway.headers import first
from atoll_gateway.message import Failed, Request, Response
from atoll_gateway.peers import Peer, Peers
from atoll_gateway.request_head import RequestHead
from atoll_gateway.upstream_errors import (
    Abandoned,
    ConnectFailed,
    ConnectRefused,
    RequestNotSent,
    ResponseLost,
    UpstreamError,
)

FAILURES = frozenset({502, 503, 504})
"""Answers that speak against a gateway, if the others of its region don't give them as often."""


class Remote:
    """Forwards a request. A gateway that can't be connected to is passed over: nothing was sent."""

    def __init__(self, peers: Peers, head: RequestHead, clock: Clock) -> None:
        self._head = head
        self._peers = peers
        self._clock = clock

    async def __call__(self, request: Request, region: str) -> Response:
        tried: frozenset[str] = frozenset()
        group = self._peers.group(region)
        while group is not None and (peer := self._peers.pick(region, tried)) is not None:
            began = group.begin(peer)
            try:
                response = await self._send(request, region, peer, group)
            except ConnectFailed as error:
                if isinstance(error, ConnectRefused):
                    self._peers.refused(peer)
                tried |= {peer.gateway.name}
                continue
            except UpstreamError as error:
                _count(group, peer, error)
                request.attempts_made += error.bytes_sent
                raise Failed(problems.lost(region, str(error)), sent=error.bytes_sent) from error
            except asyncio.CancelledError:
                group.given_up(peer, began)
                raise
            if response.status in FAILURES:
                group.failed(peer, answered=True)
            else:
                group.succeeded(peer, began)
            return response
        raise Failed(problems.unreachable(region), sent=False, retry_after_s=1)

    async def _send(self, request: Request, region: str, peer: Peer, group: Hosts[Peer]) -> Response:
        streams = False
        try:
            answer = await peer.upstream.send(
                self._head.to_peer(request),
                request.body.open(),
                method=request.method,
                upgrade=request.upgrade,
            )
            peer.health.heard()
            headers = answer.headers
            load = first(headers, b"atoll-load")
            if load is not None:
                peer.told(request.service.name, load, self._clock.monotonic())
            if first(headers, b"atoll-refused") is not None:
                content = await answer.read()
                request.attempts_made += _attempts(first(headers, b"atoll-attempts"))
                group.alive(peer)
                raise Failed(problems.passed_on(region, content), sent=False, refused=True, retry_after_s=1)
            produced_by = first(headers, b"atoll-region")
            response = await take_answer(answer, produced_by.decode() if produced_by else None, peer.done)
            # Only now: who is lost or cancelled before is counted by whoever hears of that.
            request.attempts_made += _attempts(first(headers, b"atoll-attempts"))
            streams = response.close is not None
        finally:
            if not streams:
                peer.done()
        return response


def _count(group: Hosts[Peer], peer: Peer, error: UpstreamError) -> None:
    """Counts a lost request against the gateway, if it was the gateway that lost it."""
    if isinstance(error, Abandoned | RequestNotSent):
        return  # this side gave it up, or never sent it
    if isinstance(error, ResponseLost) and error.reused:
        return  # a kept connection that the gateway closed for idleness just then
    group.failed(peer, answered=False)


def _attempts(value: bytes | None) -> int:
    """Attempts that the far gateway made; its own region answered, so a missing or odd count stands for one."""
    return int(value) if value is not None and value.isdigit() and len(value) <= 3 else 1
