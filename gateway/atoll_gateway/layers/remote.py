"""Another region: over the link to one of its gateways, which serves the request from its own region or refuses it."""

from atoll_gateway import problems
from atoll_gateway.answer import take_answer
from atoll_gateway.headers import first
from atoll_gateway.message import Failed, Request, Response
from atoll_gateway.peers import Peer, Peers
from atoll_gateway.request_head import RequestHead
from atoll_gateway.upstream_errors import ConnectFailed, ConnectRefused, UpstreamError


class Remote:
    """Forwards a request. A gateway that can't be connected to is passed over: nothing was sent."""

    def __init__(self, peers: Peers, head: RequestHead) -> None:
        self._head = head
        self._peers = peers

    async def __call__(self, request: Request, region: str) -> Response:
        tried: frozenset[str] = frozenset()
        while (peer := self._peers.pick(region, tried)) is not None:
            try:
                response = await self._send(request, region, peer)
            except ConnectFailed as error:
                if isinstance(error, ConnectRefused):
                    self._peers.refused(peer)
                tried |= {peer.gateway.name}
                continue
            except UpstreamError as error:
                request.attempts_made += error.bytes_sent
                raise Failed(problems.lost(region, str(error)), sent=error.bytes_sent) from error
            return response
        raise Failed(problems.unreachable(region), sent=False, retry_after_s=1)

    async def _send(self, request: Request, region: str, peer: Peer) -> Response:
        head = self._head.to_peer(request)
        streams = False
        peer.in_flight += 1
        try:
            answer = await peer.upstream.send(head, request.body.open(), method=request.method)
            peer.health.heard()
            request.attempts_made += _attempts(first(answer.headers, b"atoll-attempts"))
            if first(answer.headers, b"atoll-refused") is not None:
                content = await answer.read()
                raise Failed(problems.passed_on(region, content), sent=False, refused=True, retry_after_s=1)
            produced_by = first(answer.headers, b"atoll-region")
            response = await take_answer(answer, produced_by.decode() if produced_by else None, peer.done)
            streams = response.close is not None
        finally:
            if not streams:
                peer.done()
        return response


def _attempts(value: bytes | None) -> int:
    """Attempts that the far gateway made; its own region answered, so a missing or odd count stands for one."""
    return int(value) if value is not None and value.isdigit() and len(value) <= 3 else 1
