"""The headers that the gateway itself writes for an attempt."""

from atoll.telemetry.trace import Ids
from atoll.topology import ServiceKind
from atoll_gateway.call_context import CallContexts
from atoll_gateway.headers import write_head
from atoll_gateway.message import Headers, Request

_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "TRACE"})


class RequestHead:
    """Writes the heads of attempts."""

    def __init__(self, ids: Ids, contexts: CallContexts) -> None:
        self._ids = ids
        self._contexts = contexts

    def to_replica(self, request: Request) -> bytes:
        """For a replica or an origin of the own region, which is told how long it may take."""
        service = request.service
        if service.kind is ServiceKind.SERVE:
            timeout = (b"x-request-timeout-seconds", b"%.3f" % request.deadline.remaining_s)
            return self._write(request, request.target, [timeout])
        target = request.target
        if service.strip_prefix:
            target = target[len(service.route_prefix) :]
            if not target.startswith(b"/"):
                target = b"/" + target
        return self._write(request, target, [(b"atoll-deadline-ms", b"%d" % request.deadline.remaining_ms)])

    def to_peer(self, request: Request) -> bytes:
        """For a gateway of another region, which is told what it can't find out for itself."""
        headers = [
            (b"atoll-hop", b"1"),
            (b"atoll-deadline-ms", b"%d" % request.deadline.remaining_ms),
        ]
        if request.explain:
            headers.append((b"atoll-explain", b"1"))
        return self._write(request, request.target, headers)

    def _write(self, request: Request, target: bytes, special: Headers) -> bytes:
        common = [
            (b"x-request-id", request.id.encode()),
            (b"traceparent", self._ids.child(request.trace).header()),
            (b"x-forwarded-for", request.client.encode()),
            (b"x-forwarded-proto", b"http"),
            (b"atoll-context", self._contexts.of(request)),
        ]
        return write_head(request.method, target, request.headers, common, _framing(request), special)


def _framing(request: Request) -> Headers:
    """How the body is framed on the way on; nothing for a request without one."""
    if request.content_length is None:
        return [(b"transfer-encoding", b"chunked")]
    if request.content_length == 0 and request.method in _BODILESS:
        return []
    return [(b"content-length", b"%d" % request.content_length)]
