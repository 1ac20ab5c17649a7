"""The own region: straight to a replica."""

from atoll.topology.wiring import Address
from atoll_gateway import problems
from atoll_gateway.answer import take_answer
from atoll_gateway.message import Failed, Request, Response
from atoll_gateway.replicas import Replica, Replicas
from atoll_gateway.request_head import RequestHead
from atoll_gateway.serve_refusal import ServeRefusal, serve_refusal
from atoll_gateway.upstream_errors import ConnectFailed, UpstreamError


class Local:
    """Sends a request to a replica of the own region.

    A replica that refuses is ejected and another one is tried: nothing was sent. One that dies with the request fails
    the attempt; the next one leaves the region, which may be dying with it. One that turns out to be another service's
    is treated as one that refuses.
    """

    def __init__(self, replicas: Replicas, head: RequestHead) -> None:
        self._head = head
        self._replicas = replicas

    async def __call__(self, request: Request, region: str) -> Response:
        service = request.service.name
        tried: frozenset[Address] = frozenset()
        while (replica := self._replicas.pick(service, tried)) is not None:
            try:
                response = await self._send(request, region, replica)
            except ConnectFailed:
                self._replicas.eject(service, replica)
                tried |= {replica.address}
                continue
            except UpstreamError as error:
                request.attempts_made += error.bytes_sent
                raise Failed(problems.lost(region, str(error)), sent=error.bytes_sent) from error
            request.attempts_made += 1
            match serve_refusal(response):
                case ServeRefusal.STRAY:
                    self._replicas.eject(service, replica)
                    tried |= {replica.address}
                    if not request.body.replayable:
                        break
                case ServeRefusal.FULL:
                    raise Failed(problems.full(service, region), sent=False, refused=True, retry_after_s=1)
                case None:
                    self._replicas.answered(replica)
                    return response
        raise Failed(problems.no_replica(service, region), sent=False, refused=True, retry_after_s=1)

    async def _send(self, request: Request, region: str, replica: Replica) -> Response:
        service = request.service.name
        head = self._head.to_replica(request)
        streams = False
        self._replicas.begin(service, replica)
        try:
            answer = await replica.upstream.send(head, request.body.open(), method=request.method)
            response = await take_answer(answer, region, lambda: self._replicas.end(service, replica))
            streams = response.close is not None
        finally:
            if not streams:
                self._replicas.end(service, replica)
        return response
