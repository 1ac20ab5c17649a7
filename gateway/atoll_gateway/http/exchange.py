"""One request and its response, as the ASGI application sees them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol

from atoll_gateway.http.problem import CONTENT_TYPE, Problem, reason_phrase

Message = MutableMapping[str, Any]
"""One ASGI event; the ASGI specification gives its keys."""
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("atoll.gateway.http")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINE = {n: f"HTTP/1.1 {n} {reason_phrase(n)}\r\n".encode() for n in range(200, 600)}
_BODILESS = frozenset((204, 304))
_FRAMING = frozenset((b"content-length", b"transfer-encoding", b"connection", b"keep-alive"))

_CRASHED = Problem(
    500, "internal-error", "The gateway failed", "This is a fault of the gateway; its log has the request id."
)


class ClientGone(OSError):
    """Raised by `send` when the client has closed the connection."""


class CutResponse(Exception):
    """An application raises this to end a response that it cannot complete: the connection is cut, so that
    the client can tell that the body is not whole. Before the response has begun it is answered 500.
    """


class Wire(Protocol):
    """What an exchange needs of the connection it runs on."""

    drained: asyncio.Future[None] | None
    """Set while the client takes data too slowly; done when there is room again."""

    def write(self, data: bytes) -> None: ...

    def hold(self, head: bytes) -> None:
        """Writes a response head, if it can be together with what is written next."""

    def want_body(self) -> None:
        """The application has taken all of the body that was buffered."""

    def finished(self, exchange: "Exchange") -> None:
        """The response is complete."""

    def failed(self, exchange: "Exchange", problem: Problem) -> None:
        """The application ended without completing its response."""

    def left(self, exchange: "Exchange") -> None:
        """The application has returned."""


class Exchange:
    """Holds what has come of a request body, and frames what the application answers.

    Guarantees: a response is framed by the server alone (the application's `connection`, `keep-alive` and
    `transfer-encoding` fields are dropped); the body never differs in length from its `content-length`; a
    field that would split the response raises `ValueError` before a byte of it is out.
    """

    # What it is to begin with. Defaults of the class, since most requests change few of them.
    buffered = 0
    received = 0
    body_complete = False
    started = False
    complete = False
    gone = False
    task: asyncio.Task[None] | None = None
    _entered = False
    _told_end = False
    _news: asyncio.Event | None = None
    _chunked = False
    _left: int | None = None  # bytes of content-length still to come; None: any number

    def __init__(
        self, wire: Wire, scope: Scope, *, http_1_0: bool, keep_alive: bool, expects_continue: bool
    ) -> None:
        self.wire = wire
        self.scope = scope
        self.http_1_0 = http_1_0
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self.head_only: bool = scope["method"] == "HEAD"
        self.chunks: list[bytes] = []

    # --- from the connection ---

    def feed(self, data: bytes) -> None:
        self.chunks.append(data)
        size = len(data)
        self.buffered += size
        self.received += size
        if self._news is not None:
            self._news.set()

    def feed_end(self) -> None:
        self.body_complete = True
        if self._news is not None:
            self._news.set()

    def abandon(self) -> None:
        """The client is gone, or will get no answer from the application: its task is cancelled."""
        self.gone = True
        if self._news is not None:
            self._news.set()
        if self.task is not None and not self.complete:
            self.task.cancel()
            if not self._entered:
                self.wire.left(self)  # a task that is cancelled before its first step never gets into `run`

    async def run(self, application: Application) -> None:
        """Runs the application over this exchange, and answers or cuts where it fails to answer."""
        self._entered = True
        try:
            await application(self.scope, self.receive, self)
        except (ClientGone, CutResponse):
            pass
        # The one place where any error of the application has to end: it may not take the connection with it.
        except Exception:
            log.exception("the application failed on a request", extra={"path": self.scope["path"]})
        finally:
            if not self.complete and not self.gone:
                self.wire.failed(self, _CRASHED)
            self.wire.left(self)

    # --- ASGI ---

    async def receive(self) -> Message:
        if self.expects_continue:
            self.expects_continue = False
            if not self.started and not self.body_complete and not self.chunks and not self.gone:
                self.wire.write(CONTINUE)
        while not self.gone and not self.complete:
            if self._told_end:
                await self._wait()  # nothing can come any more but the end
            elif self.chunks or self.body_complete:
                chunks = self.chunks
                body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
                chunks.clear()
                self.buffered = 0
                self._told_end = self.body_complete
                self.wire.want_body()
                return {"type": "http.request", "body": body, "more_body": not self._told_end}
            else:
                await self._wait()
        return {"type": "http.disconnect"}

    async def __call__(self, message: Message) -> None:
        """ASGI's `send`."""
        if self.gone:
            raise ClientGone("the client has closed the connection")
        kind = message["type"]
        if kind == "http.response.body":
            if not self.started:
                raise RuntimeError("http.response.body was sent before http.response.start")
            if self.complete:
                raise RuntimeError("the response is already complete")
            self._body(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.start":
            if self.started:
                raise RuntimeError("http.response.start was sent twice")
            self._start(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(
                f"unexpected ASGI message {kind!r}; this server takes http.response.start and .body"
            )
        if (drained := self.wire.drained) is not None:
            await asyncio.shield(drained)
            if self.gone:
                raise ClientGone("the client has closed the connection")

    def respond(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Answers with the whole of `body` in one write. Names of `headers` have to be in lower case.

        Does what ``http.response.start`` and ``http.response.body`` do, without the two messages: most answers are held
        until they are complete anyway. Raises what they raise.
        """
        if self.gone:
            raise ClientGone("the client has closed the connection")
        if self.started:
            raise RuntimeError("the response has already begun")
        plain = self.keep_alive and self.body_complete and not self.head_only and not self.http_1_0
        if not plain or status in _BODILESS:
            self._start(status, headers)
            self._body(body, more=False)
            return
        lines = [_STATUS_LINE[status]]
        for name, value in headers:
            if name not in _FRAMING:
                lines += (name, b": ", value, b"\r\n")
            elif name == b"content-length":
                if int(value) != len(body):
                    raise ValueError("the response body is not as long as its content-length says")
            elif name == b"connection" and b"close" in value.lower():
                self._start(status, headers)
                self._body(body, more=False)
                return
        fields = len(lines) // 4 + 2
        lines.append(b"content-length: %d\r\n\r\n" % len(body))
        head = b"".join(lines)
        _check_lines(head, fields + 1)
        self.started = self.complete = True
        self.wire.write(head + body)
        if self._news is not None:
            self._news.set()
        self.wire.finished(self)

    # --- the response on the wire ---

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        lines = [_STATUS_LINE[status]]
        length: bytes | None = None
        fields = 1
        for name, value in headers:
            lowered = name.lower()
            if lowered in _FRAMING:
                if lowered == b"content-length":
                    length = value
                elif lowered == b"connection" and b"close" in value.lower():
                    self.keep_alive = False
            else:
                lines += (name, b": ", value, b"\r\n")
                fields += 1
        bodiless = status in _BODILESS
        if length is not None and status != 204:
            lines += (b"content-length: ", length, b"\r\n")
            fields += 1
            self._left = 0 if bodiless else int(length)
        elif bodiless:
            self._left = 0
        elif self.http_1_0:
            self.keep_alive = False  # only the end of the connection can end such a body
        else:
            lines.append(b"transfer-encoding: chunked\r\n")
            fields += 1
            self._chunked = not self.head_only
        if not self.body_complete:
            self.keep_alive = False  # the rest of the request body is not waited for
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
            fields += 1
        elif self.http_1_0:
            lines.append(b"connection: keep-alive\r\n")
            fields += 1
        lines.append(b"\r\n")
        head = b"".join(lines)
        _check_lines(head, fields + 1)
        self.started = True
        self.wire.hold(head)

    def _body(self, body: bytes, more: bool) -> None:
        if not self.head_only:
            if self._chunked:
                if body:
                    self.wire.write(
                        b"%x\r\n%b\r\n" % (len(body), body)
                        if more
                        else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
                    )
                elif not more:
                    self.wire.write(b"0\r\n\r\n")
            else:
                if self._left is not None:
                    self._left -= len(body)
                    if self._left < 0 or (self._left and not more):
                        raise ValueError("the response body is not as long as its content-length says")
                if body:
                    self.wire.write(body)
        if not more:
            self.complete = True
            if self._news is not None:
                self._news.set()
            self.wire.finished(self)

    async def _wait(self) -> None:
        if self._news is None:
            self._news = asyncio.Event()
        self._news.clear()
        await self._news.wait()


def _check_lines(head: bytes, lines: int) -> None:
    """Raises `ValueError` if a field holds a line break, so that the head has more lines than it should."""
    if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
        raise ValueError("a response header field holds a line break or a NUL")


def problem_response(problem: Problem, request_id: str, *, head_only: bool = False) -> bytes:
    """A whole HTTP/1.1 response that tells of `problem` and announces the end of the connection."""
    body = problem.body(request_id)
    head = b"%bcontent-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\nconnection: close\r\n\r\n" % (
        _STATUS_LINE[problem.status],
        CONTENT_TYPE,
        len(body),
        request_id.encode(),
    )
    return head if head_only else head + body
