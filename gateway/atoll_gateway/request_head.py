"""The headers that the gateway itself writes for an attempt."""

from atoll.telemetry.trace import Ids
from atoll.topology import ServiceKind
from atoll_gateway.call_context import CallContexts
from atoll_gateway.message import Request

_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "TRACE"})
_UPGRADE = b"connection: Upgrade\r\nupgrade: websocket\r\n"
_HEAD = b"%b %b HTTP/1.1\r\n%bx-request-id: %b\r\ntraceparent: %b\r\natoll-context: %b\r\n%b%b\r\n"


class RequestHead:
    """Writes the heads of attempts."""

    def __init__(self, ids: Ids, contexts: CallContexts) -> None:
        self._ids = ids
        self._contexts = contexts

    def to_replica(self, request: Request) -> bytes:
        """For a replica or an origin of the own region, which is told how long it may take."""
        service = request.service
        if service.kind is ServiceKind.SERVE:
            timeout = b"x-request-timeout-seconds: %.3f\r\n" % request.deadline.remaining_s
            return self._write(request, request.target, timeout)
        target = request.target
        if service.strip_prefix:
            target = target[len(service.route_prefix) :]
            if not target.startswith(b"/"):
                target = b"/" + target
        return self._write(request, target, b"atoll-deadline-ms: %d\r\n" % request.deadline.remaining_ms)

    def to_peer(self, request: Request) -> bytes:
        """For a gateway of another region, which is told what it can't find out for itself."""
        special = b"atoll-hop: 1\r\natoll-deadline-ms: %d\r\n" % request.deadline.remaining_ms
        if request.explain:
            special += b"atoll-explain: 1\r\n"
        return self._write(request, request.target, special)

    def _write(self, request: Request, target: bytes, special: bytes) -> bytes:
        if request.upgrade:
            special += _UPGRADE
        return _HEAD % (
            request.method.encode(),
            target,
            request.lines,
            request.id.encode(),
            self._ids.child_header(request.trace),
            self._contexts.of(request),
            _framing(request),
            special,
        )


def _framing(request: Request) -> bytes:
    """How the body is framed on the way on; nothing for a request without one."""
    if request.content_length is None:
        return b"transfer-encoding: chunked\r\n"
    if request.content_length == 0 and request.method in _BODILESS:
        return b""
    return b"content-length: %d\r\n" % request.content_length
