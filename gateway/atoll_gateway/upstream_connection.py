"""One connection to an upstream, and the response that comes on it."""

import asyncio
from collections.abc import AsyncIterator
from math import inf
from ssl import SSLError
from typing import Protocol, cast

import httptools

from atoll_gateway.tunnel import End
from atoll_gateway.upstream_errors import ProtocolError, ResponseLost, Truncated, UpstreamError

Body = bytes | AsyncIterator[bytes] | None
"""A request body: none, whole, or streamed. The head has to announce it by `content-length`; a streamed
one may be announced by ``transfer-encoding: chunked`` instead, and the pool then frames its pieces.
"""

_HIGH_WATER = 256 * 1024


class Pool(Protocol):
    """What a connection needs of the pool that it belongs to."""

    name: str

    @property
    def header_bytes(self) -> int:
        """Longest response head."""

    def released(self, connection: "UpstreamConnection") -> None:
        """It is free, and fit for another request."""

    def lost(self, connection: "UpstreamConnection") -> None:
        """It is gone, or will be in a moment."""


class UpstreamResponse:
    """A response whose head has come. Its connection goes back to the pool by itself once the body is
    complete.

    Whoever does not read the body to its end has to `close` the response.
    """

    __slots__ = (
        "_buffered",
        "_chunks",
        "_complete",
        "_connection",
        "_error",
        "_news",
        "content_length",
        "headers",
        "status",
        "whole",
    )

    def __init__(
        self,
        connection: "UpstreamConnection",
        status: int,
        headers: list[tuple[bytes, bytes]],
        content_length: int | None,
    ) -> None:
        self.status = status
        self.headers = headers
        """Fields in the order they came, names in lower case, framing fields included."""
        self.content_length = content_length
        """What the head says; for an answer to HEAD and a 304 that is not what comes."""
        self._connection = connection
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._complete = False
        self.whole = False
        """The reader wants all of it, so reading does not stop at the high-water mark."""
        self._error: UpstreamError | None = None
        self._news: asyncio.Event | None = None

    @property
    def complete(self) -> bool:
        """The whole body has arrived, so `read` will not wait."""
        return self._complete

    async def read(self) -> bytes:
        """The rest of the body, held in memory as a whole. Raises `Truncated`."""
        self.whole = True
        self._connection.want(self)
        while not self._complete and self._error is None:
            await self._wait()
        if self._error is not None:
            raise self._error
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks = []
        return body

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes, with back pressure. Raises `Truncated`. Closes the response where it is
        left early.
        """
        try:
            while True:
                if self._chunks:
                    chunks, self._chunks = self._chunks, []
                    self._buffered = 0
                    self._connection.want(self)
                    yield chunks[0] if len(chunks) == 1 else b"".join(chunks)
                elif self._error is not None:
                    raise self._error
                elif self._complete:
                    return
                else:
                    await self._wait()
        finally:
            self.close()

    def close(self) -> None:
        """Gives up what has not come yet; the connection is closed then, so the far side sees it."""
        if not self._complete and self._error is None:
            self._error = Truncated("the response was closed by its reader")
            self._connection.give_up(self)

    def switch(self) -> End:
        """Takes the connection of a response that is 101 over; `close` still ends it. Raises `Truncated`."""
        if self._error is not None:
            raise self._error
        return self._connection.hand_over()

    # --- from the connection ---

    def feed(self, data: bytes) -> bool:
        """Takes a piece of body in; true if the connection should stop reading for now."""
        self._chunks.append(data)
        self._buffered += len(data)
        if self._news is not None:
            self._news.set()
        return self._buffered > _HIGH_WATER and not self.whole

    def end(self) -> None:
        self._complete = True
        if self._news is not None:
            self._news.set()

    def fail(self, error: UpstreamError) -> None:
        if self._error is None:
            self._error = error
        if self._news is not None:
            self._news.set()

    async def _wait(self) -> None:
        if self._news is None:
            self._news = asyncio.Event()
        self._news.clear()
        await self._news.wait()


Attempt = asyncio.Future[UpstreamResponse]


class _Surplus(Exception):
    """Raised within the parser's callbacks to stop it: more came than was asked for."""


class UpstreamConnection(asyncio.Protocol):
    """One connection. It carries one request at a time."""

    __slots__ = (
        "_attempt",
        "_complete",
        "_early",
        "_fed",
        "_head_only",
        "_headers",
        "_keep_alive",
        "_parser",
        "_paused",
        "_pool",
        "_pump",
        "_response",
        "_to_eof",
        "_transport",
        "_upgrade",
        "_waiting",
        "_writable",
        "idle_since",
        "old_at",
        "repeatable",
        "used",
    )

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._attempt: Attempt | None = None  # whose request this connection carries
        self._waiting = False  # a response head is due
        self._response: UpstreamResponse | None = None  # being received
        self._complete = False
        self._pump: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_only = False
        self._upgrade = False  # the request asks for WebSocket
        self._early = b""  # what came behind the head that granted it
        self._to_eof = False
        self._keep_alive = False
        self._paused = False
        self._fed = 0
        self.idle_since = 0.0
        self.old_at = inf
        """From then on it carries no further request."""
        self.repeatable = False
        """Whether the request that it carries may be sent again."""
        self.used = 0

    # --- for the pool and the response ---

    @property
    def closed(self) -> bool:
        return self._transport.is_closing()

    @property
    def waiting(self) -> bool:
        """A request is out and its response head has not come."""
        return self._waiting

    @property
    def held(self) -> bool:
        """A request is out, and its reader waits for the head or for the whole of its response."""
        return self._waiting or (self._response is not None and self._response.whole)

    def start(
        self, head: bytes, body: Body, attempt: Attempt, *, head_only: bool, upgrade: bool = False
    ) -> None:
        """Sends a request. `attempt` gets the response, or the error that came before it."""
        self._attempt = attempt
        self._waiting = True
        self._head_only = head_only
        self._upgrade = upgrade
        self._headers = []
        self._fed = 0
        self.used += 1
        if not body:
            self._transport.write(head)
        elif isinstance(body, bytes):
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            chunked = b"\r\ntransfer-encoding: chunked\r\n" in head.lower()
            self._pump = asyncio.get_running_loop().create_task(self._send_body(body, chunked))
            self._pump.add_done_callback(self._body_sent)

    def want(self, response: UpstreamResponse) -> None:
        """The reader has taken all that was buffered."""
        if self._paused and self._response is response:
            self._paused = False
            self._transport.resume_reading()

    def give_up(self, response: UpstreamResponse) -> None:
        """The reader wants no more of its response."""
        if self._response is response:
            self._response = None
            self.abort()

    def hand_over(self) -> End:
        """Lets go of a connection that speaks HTTP no more."""
        return End(self._transport, self._early, lambda _: None)

    def cancel(self, attempt: Attempt) -> None:
        """The sender has gone. Nothing happens if this connection carries another request already."""
        if self._attempt is attempt:
            self.abort()

    def fail(self, error: BaseException) -> None:
        """Ends the request, if there is one, with `error`, and the connection with it."""
        attempt, response = self._attempt, self._response
        self._attempt = self._response = None
        if self._waiting:
            self._waiting = False
            if attempt is not None and not attempt.done():
                attempt.set_exception(error)
        elif response is not None:
            truncated = error if isinstance(error, UpstreamError) else Truncated("the request body failed")
            if truncated is not error:
                truncated.__cause__ = error
            response.fail(truncated)
        self.abort()

    def abort(self) -> None:
        """Closes the connection; what it carries is lost."""
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None
        self._pool.lost(self)
        self._transport.abort()

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._attempt is None:
            self.abort()  # nothing was asked for
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            switched = self._response is not None and self._response.status == 101
            if switched and isinstance(error, httptools.HttpParserUpgrade):
                self._switched(data[error.args[0] :])
                return
            if not self._complete:
                self.fail(ProtocolError(f"{self._pool.name} sent an unreadable response: {error}"))
                return
            self._keep_alive = False
        response = self._response
        if response is None:
            self._fed += len(data)
            if self._fed > self._pool.header_bytes:
                self.fail(ProtocolError(f"{self._pool.name} sent a response head that is too large"))
            return
        if self._waiting:
            self._waiting = False
            attempt = self._attempt
            if not attempt.done():
                attempt.set_result(response)
        if self._complete:
            self._finish(response)

    def eof_received(self) -> bool:
        self._pool.lost(self)  # never handed out again, whatever else happens
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.lost(self)
        if self._writable is not None:
            self._writable.cancel()
            self._writable = None
        response = self._response
        if self._waiting:
            self.fail(
                ResponseLost(
                    f"{self._pool.name} closed the connection before it answered{_why(exc)}",
                    reused=self.used > 1,
                )
            )
        elif response is not None and self._to_eof and exc is None:
            self._finish(response)
        elif response is not None:
            self.fail(Truncated(f"{self._pool.name} closed the connection within the response body"))

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    # --- llhttp ---

    def on_message_begin(self) -> None:
        if self._complete:
            raise _Surplus

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is None:  # else a trailer, which is dropped
            self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            granted = self._upgrade and status == 101 and self._parser.should_upgrade()
            if granted and dict(self._headers)[b"upgrade"].lower() == b"websocket":
                self._response = UpstreamResponse(self, status, self._headers, None)
            return
        if status > 599:
            raise httptools.HttpParserError("its status is none of HTTP's")
        headers = self._headers
        fields = dict(headers)
        length = fields.get(b"content-length")
        coding = fields.get(b"transfer-encoding")
        sound = True
        if coding is not None:
            if coding.lower() != b"chunked" or [n for n, _ in headers].count(b"transfer-encoding") > 1:
                raise httptools.HttpParserError("its transfer coding is not chunked alone")
            sound = self._parser.get_http_version() != "1.0"  # else RFC 9112, section 6.1 wants the end of it
        bodiless = self._head_only or status in {204, 304}
        self._to_eof = length is None and coding is None and not bodiless
        self._keep_alive = (
            sound
            and not self._to_eof
            and (self._parser.should_keep_alive() or (bodiless and self._parser.get_http_version() == "1.1"))
            and b"close" not in fields.get(b"connection", b"").lower()
        )
        self._response = UpstreamResponse(self, status, headers, None if length is None else int(length))
        if self._head_only:
            self._complete = True

    def on_body(self, data: bytes) -> None:
        response = self._response
        if self._complete or response is None:
            raise _Surplus
        if response.feed(data) and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._response is None:
            self._headers = []  # an informational response; the final one follows
        else:
            self._complete = True

    # --- internals ---

    def _finish(self, response: UpstreamResponse) -> None:
        """The response is complete: the connection is free again, or it is closed."""
        self._response = self._attempt = None
        self._complete = False
        response.end()
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        if not self._keep_alive or self._pump is not None:
            self.abort()
            return
        if self._head_only:
            self._parser = httptools.HttpResponseParser(
                self
            )  # the old one waits for the body that HEAD has not
        self._pool.released(self)

    def _switched(self, early: bytes) -> None:
        """The connection speaks HTTP no more: it leaves the pool, and waits for its tunnel."""
        self._early = early
        self._complete = self._waiting = False
        self._transport.pause_reading()
        self._pool.lost(self)
        attempt = self._attempt
        if attempt is not None and not attempt.done() and self._response is not None:
            attempt.set_result(self._response)

    async def _send_body(self, body: AsyncIterator[bytes], chunked: bool) -> None:
        async for piece in body:
            if piece:
                self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                if self._writable is not None:
                    await self._writable
        if chunked:
            self._transport.write(b"0\r\n\r\n")

    def _body_sent(self, pump: asyncio.Task[None]) -> None:
        if self._pump is pump:
            self._pump = None
            if not pump.cancelled() and (error := pump.exception()) is not None:
                self.fail(error)
        elif not pump.cancelled():
            pump.exception()


def _why(error: Exception | None) -> str:
    """What TLS says: in TLS 1.3 a client learns only after its handshake that its certificate was refused."""
    return f": {error}" if isinstance(error, SSLError) else ""
