"""Connections to one address further on: a replica, an origin, or a gateway of another region.

The pool knows nothing of retries. It says exactly how far a failed request got, so that the layer above can
decide what may be sent again: see the errors.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import cast

import httptools

from atoll.clock import Clock, SystemClock

Body = bytes | AsyncIterator[bytes] | None
"""A request body: none, whole, or streamed. The head has to announce it by `content-length`; a streamed
one may be announced by ``transfer-encoding: chunked`` instead, and the pool then frames its pieces.
"""

Greeting = Callable[[], bytes]
"""Gives the whole request that opens every new connection. Only a 200 makes the connection usable."""

_HIGH_WATER = 256 * 1024


class UpstreamError(Exception):
    """A request could not be completed. `bytes_sent` says whether the far side may have seen any of it."""

    bytes_sent = False


class ConnectFailed(UpstreamError):
    """No connection could be opened; nothing left this process."""


class ConnectRefused(ConnectFailed):
    """The far side refused, or no way leads to it."""


class ConnectTimedOut(ConnectFailed):
    """No usable connection within the connect timeout, the greeting included."""


class GreetingRefused(ConnectFailed):
    """The far gateway answered the greeting with something else than 200."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class RequestNotSent(UpstreamError):
    """No connection came free in time, or the pool is closed; nothing left this process."""


class ResponseLost(UpstreamError):
    """The connection ended before the response head; the request may have been executed.

    `reused` says that the connection had served an earlier request: then the far side most likely closed it
    for idleness just as this request went out. RFC 9112, section 9.3.1 allows only idempotent requests to be
    sent again without asking.
    """

    bytes_sent = True

    def __init__(self, message: str, *, reused: bool) -> None:
        super().__init__(message)
        self.reused = reused


class Abandoned(UpstreamError):
    """`fail_all` ended the attempt before its response head. `bytes_sent` is false if it still waited to
    be sent.
    """

    def __init__(self, message: str, *, bytes_sent: bool = True) -> None:
        super().__init__(message)
        self.bytes_sent = bytes_sent


class Truncated(UpstreamError):
    """The connection ended within the response body."""

    bytes_sent = True


class ProtocolError(UpstreamError):
    """The response could not be understood, or its head is too large."""

    bytes_sent = True


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Times in seconds, sizes in bytes."""

    max_connections: int = 256
    max_idle: int = 64
    connect_timeout_s: float = 1.0
    """TCP connect and greeting together."""
    acquire_timeout_s: float = 2.0
    """Longest wait for a connection, be it a new one or one that others use; then `RequestNotSent`."""
    idle_timeout_s: float = 4.0
    """Idle connections are closed after this. It has to be below the far side's keep-alive: uvicorn's is 5
    s.
    """
    header_bytes: int = 64 * 1024
    """Longest response head."""


@dataclass(frozen=True, slots=True)
class UpstreamStatistics:
    """A snapshot of one pool. `refused` counts connects that failed for any reason, time-outs included."""

    open: int
    idle: int
    in_flight: int
    opening: int
    waiting: int
    requests: int
    connects: int
    refused: int
    reused: int


class UpstreamResponse:
    """A response whose head has come. Its connection goes back to the pool by itself once the body is
    complete.

    Whoever does not read the body to its end has to `close` the response.
    """

    __slots__ = (
        "_buffered",
        "_chunks",
        "_complete",
        "_error",
        "_link",
        "_news",
        "_whole",
        "content_length",
        "headers",
        "status",
    )

    def __init__(
        self, link: "_Link", status: int, headers: list[tuple[bytes, bytes]], content_length: int | None
    ) -> None:
        self.status = status
        self.headers = headers
        """Fields in the order they came, names in lower case, framing fields included."""
        self.content_length = content_length
        """What the head says; for an answer to HEAD and a 304 that is not what comes."""
        self._link = link
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._complete = False
        self._whole = False  # the reader wants all of it, so reading does not stop at the high-water mark
        self._error: UpstreamError | None = None
        self._news: asyncio.Event | None = None

    @property
    def complete(self) -> bool:
        """The whole body has arrived, so `read` will not wait."""
        return self._complete

    async def read(self) -> bytes:
        """The rest of the body, held in memory as a whole. Raises `Truncated`."""
        self._whole = True
        self._link.want(self)
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
                    self._link.want(self)
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
            self._link.give_up(self)

    # --- from the connection ---

    def feed(self, data: bytes) -> bool:
        """Takes a piece of body in; true if the connection should stop reading for now."""
        self._chunks.append(data)
        self._buffered += len(data)
        if self._news is not None:
            self._news.set()
        return self._buffered > _HIGH_WATER and not self._whole

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


class _Link(asyncio.Protocol):
    """One connection. It carries one request at a time."""

    __slots__ = (
        "_attempt",
        "_complete",
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
        "_waiting",
        "_writable",
        "idle_since",
        "used",
    )

    def __init__(self, pool: "Upstream") -> None:
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
        self._to_eof = False
        self._keep_alive = False
        self._paused = False
        self._fed = 0
        self.idle_since = 0.0
        self.used = 0

    # --- for the pool and the response ---

    @property
    def closed(self) -> bool:
        return self._transport.is_closing()

    @property
    def waiting(self) -> bool:
        """A request is out and its response head has not come."""
        return self._waiting

    def start(self, head: bytes, body: Body, attempt: Attempt, *, head_only: bool) -> None:
        """Sends a request. `attempt` gets the response, or the error that came before it."""
        self._attempt = attempt
        self._waiting = True
        self._head_only = head_only
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
            if not self._complete:
                self.fail(ProtocolError(f"{self._pool.name} sent an unreadable response: {error}"))
                return
            self._keep_alive = False
        response = self._response
        if response is None:
            self._fed += len(data)
            if self._fed > self._pool.settings.header_bytes:
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
                    f"{self._pool.name} closed the connection before it answered", reused=self.used > 1
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
            return
        headers = self._headers
        fields = dict(headers)
        length = fields.get(b"content-length")
        coding = fields.get(b"transfer-encoding")
        if coding is not None and coding.lower() != b"chunked":
            raise httptools.HttpParserError("its transfer coding is not chunked alone")
        bodiless = self._head_only or status in {204, 304}
        self._to_eof = length is None and coding is None and not bodiless
        self._keep_alive = (
            not self._to_eof
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


class Upstream:
    """A keep-alive pool of connections to one address. The connection used last is used again first, so
    that what is not needed grows old and is closed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        settings: PoolSettings | None = None,
        greeting: Greeting | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = f"{host}:{port}"
        self.settings = settings or PoolSettings()
        self._host = host
        self._port = port
        self._greeting = greeting
        self._clock: Clock = clock or SystemClock()
        self._links: set[_Link] = set()
        self._idle: deque[_Link] = deque()  # the last one was used last
        self._waiters: deque[asyncio.Future[_Link]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._expiry: asyncio.TimerHandle | None = None
        self._retired = False
        self._closed = False
        self._requests = 0
        self._connects = 0
        self._refused = 0
        self._reused = 0

    async def send(self, head: bytes, body: Body, *, method: str) -> UpstreamResponse:
        """Sends one request and waits for the head of its response; informational responses are skipped.

        `head` is the request line and the fields, ready for the wire; `method` is what the head says. Raises
        one of this module's errors, or what a streamed body raises. If it is cancelled, the connection is
        closed, so that the far side can give up too.
        """
        idle = self._idle
        link: _Link | None = None
        while link is None:
            if not idle:
                link = await self._acquire()
            else:
                link = idle.pop()
                if link.idle_since + self.settings.idle_timeout_s < self._clock.monotonic():
                    link.abort()
            if link.closed:
                link = None
        self._requests += 1
        if link.used:
            self._reused += 1
        attempt: Attempt = asyncio.get_running_loop().create_future()
        link.start(head, body, attempt, head_only=method == "HEAD")
        try:
            return await attempt
        except asyncio.CancelledError:
            link.cancel(attempt)
            raise

    def fail_all(self, error: Abandoned) -> None:
        """Ends every attempt that has no response head yet, and closes every idle connection: for an
        address that has been found dead while requests hang on it. Responses that have begun go on.
        """
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(Abandoned(str(error), bytes_sent=False))
        self._waiters.clear()
        for link in [link for link in self._links if link.waiting]:
            link.fail(Abandoned(str(error)))
        self._close_idle()

    def close_when_idle(self) -> None:
        """Keeps no connection any longer than its request needs it."""
        self._retired = True
        self._close_idle()

    def close(self) -> None:
        """Closes every connection. Running requests get `ResponseLost` or `Truncated`, waiting ones
        `RequestNotSent`.
        """
        self._closed = True
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        for task in self._opening:
            task.cancel()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(RequestNotSent(f"the pool to {self.name} was closed"))
        self._waiters.clear()
        for link in list(self._links):
            if link.waiting:
                link.fail(ResponseLost(f"the pool to {self.name} was closed", reused=False))
            else:
                link.fail(Truncated(f"the pool to {self.name} was closed"))

    def statistics(self) -> UpstreamStatistics:
        return UpstreamStatistics(
            open=len(self._links),
            idle=len(self._idle),
            in_flight=len(self._links) - len(self._idle),
            opening=len(self._opening),
            waiting=len(self._waiters),
            requests=self._requests,
            connects=self._connects,
            refused=self._refused,
            reused=self._reused,
        )

    # --- for the connections ---

    def released(self, link: _Link) -> None:
        """A connection is free, and fit for another request."""
        if link not in self._links:
            return  # it has only been greeted so far; `_open` decides
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(link)
                return
        if self._closed or self._retired or len(self._idle) >= self.settings.max_idle:
            link.abort()
            return
        link.idle_since = self._clock.monotonic()
        self._idle.append(link)
        if self._expiry is None:
            self._expiry = asyncio.get_running_loop().call_later(self.settings.idle_timeout_s, self._expire)

    def lost(self, link: _Link) -> None:
        """A connection is gone, or will be in a moment."""
        if link in self._links:
            self._links.discard(link)
            if link in self._idle:
                self._idle.remove(link)
            self._open_more()

    # --- internals ---

    async def _acquire(self) -> _Link:
        if self._closed:
            raise RequestNotSent(f"the pool to {self.name} is closed")
        waiter: asyncio.Future[_Link] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._open_more()
        try:
            async with asyncio.timeout(self.settings.acquire_timeout_s):
                return await waiter
        except TimeoutError:
            self._stop_waiting(waiter)
            limit = self.settings.acquire_timeout_s
            raise RequestNotSent(f"no connection to {self.name} came free within {limit} s") from None
        except asyncio.CancelledError:
            self._stop_waiting(waiter)
            raise

    def _stop_waiting(self, waiter: asyncio.Future[_Link]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        elif waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self.released(waiter.result())  # it was given a connection in the very moment that it left

    def _open_more(self) -> None:
        """Opens a connection for each waiter, as far as the limit allows."""
        if self._closed:
            return
        limit = self.settings.max_connections - len(self._links)
        while len(self._opening) < min(limit, len(self._waiters)):
            self._opening.add(asyncio.get_running_loop().create_task(self._open()))

    async def _open(self) -> None:
        link: _Link | None = None
        error: UpstreamError
        try:
            async with asyncio.timeout(self.settings.connect_timeout_s):
                loop = asyncio.get_running_loop()
                _, link = await loop.create_connection(lambda: _Link(self), self._host, self._port)
                if self._greeting is not None:
                    await self._greet(link, self._greeting())
        except TimeoutError:
            limit = self.settings.connect_timeout_s
            error = ConnectTimedOut(f"{self.name} gave no connection within {limit} s")
        except OSError as cause:
            error = ConnectRefused(f"{self.name} cannot be reached: {cause}")
        except ConnectFailed as cause:
            error = cause
        except UpstreamError as cause:
            error = ConnectRefused(f"{self.name} did not answer the greeting: {cause}")
        else:
            self._connects += 1
            self._links.add(link)
            link.used = 0
            self.released(link)
            return
        finally:
            self._opening.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            if link is not None and link not in self._links:
                link.abort()
        self._refused += 1
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)
                break
        self._open_more()

    async def _greet(self, link: _Link, greeting: bytes) -> None:
        attempt: Attempt = asyncio.get_running_loop().create_future()
        link.start(greeting, None, attempt, head_only=False)
        response = await attempt
        await response.read()
        if response.status != 200:
            raise GreetingRefused(
                f"{self.name} refused the greeting with status {response.status}", response.status
            )
        if link.closed:
            raise ConnectRefused(f"{self.name} closed the connection after the greeting")

    def _close_idle(self) -> None:
        while self._idle:
            self._idle[-1].abort()

    def _expire(self) -> None:
        """Closes what has been idle for too long, and comes back when the next one will have been."""
        self._expiry = None
        now = self._clock.monotonic()
        while self._idle and self._idle[0].idle_since + self.settings.idle_timeout_s <= now:
            self._idle[0].abort()
        if self._idle:
            pause = self._idle[0].idle_since + self.settings.idle_timeout_s - now
            self._expiry = asyncio.get_running_loop().call_later(pause, self._expire)
