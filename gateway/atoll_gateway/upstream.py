"""Connections to one address further on: a replica, an origin, or a gateway of another region.

The pool knows nothing of retries. It says exactly how far a failed request got, so that the layer above can
decide what may be sent again: see the errors.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from ssl import SSLContext
from typing import TypedDict, cast

from atoll.clock import Clock, SystemClock
from atoll.tls import SHUTDOWN_S, Calling
from atoll_gateway.upstream_connection import Attempt, Body, UpstreamConnection, UpstreamResponse
from atoll_gateway.upstream_errors import (
    Abandoned,
    ConnectFailed,
    ConnectRefused,
    ConnectTimedOut,
    GreetingRefused,
    RequestNotSent,
    ResponseLost,
    Truncated,
    UpstreamError,
)

Greeting = Callable[[], bytes]
"""Gives the whole request that opens every new connection. Only a 200 makes the connection usable."""


class _Secured(TypedDict, total=False):
    ssl: SSLContext
    server_hostname: str
    ssl_shutdown_timeout: float


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Times in seconds, sizes in bytes."""

    max_connections: int = 256
    max_idle: int = 64
    connect_timeout_s: float = 1.0
    """TCP connect, handshake of TLS, and greeting together."""
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
        tls: Calling | None = None,
    ) -> None:
        self.name = f"{host}:{port}"
        self.settings = settings or PoolSettings()
        self._host = host
        self._port = port
        self._greeting = greeting
        self._tls = tls
        self._clock: Clock = clock or SystemClock()
        self._connections: set[UpstreamConnection] = set()
        self._idle: deque[UpstreamConnection] = deque()  # the last one was used last
        self._waiters: deque[asyncio.Future[UpstreamConnection]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._expiry: asyncio.TimerHandle | None = None
        self._retired = False
        self._closed = False
        self._requests = 0
        self._connects = 0
        self._refused = 0
        self._reused = 0

    async def send(
        self, head: bytes, body: Body, *, method: str, upgrade: bool = False, repeatable: bool = False
    ) -> UpstreamResponse:
        """Sends one request and waits for the head of its response; informational responses are skipped.

        `head` is the request line and the fields, ready for the wire; `method` is what the head says, and so is
        `upgrade`: whether it asks for WebSocket. If that is granted (101), the connection leaves the pool for
        `UpstreamResponse.switch`. Raises one of this module's errors, or what a streamed body raises. If it is
        cancelled, the connection is closed, so that the far side can give up too. `repeatable`: whether it may be
        sent again, for `fail_all`.
        """
        idle = self._idle
        connection: UpstreamConnection | None = None
        while connection is None:
            if not idle:
                connection = await self._acquire()
            else:
                connection = idle.pop()
                if connection.idle_since + self.settings.idle_timeout_s < self._clock.monotonic():
                    connection.abort()
            if connection.closed:
                connection = None
        self._requests += 1
        if connection.used:
            self._reused += 1
        connection.repeatable = repeatable
        attempt: Attempt = asyncio.get_running_loop().create_future()
        connection.start(head, body, attempt, head_only=method == "HEAD", upgrade=upgrade)
        try:
            return await attempt
        except asyncio.CancelledError:
            connection.cancel(attempt)
            raise

    @property
    def header_bytes(self) -> int:
        """Longest response head."""
        return self.settings.header_bytes

    def fail_all(self, error: Abandoned, *, repeatable: bool = False) -> None:
        """Ends every attempt that has no response head yet, and closes every idle connection: for an
        address that has been found dead while requests hang on it. Responses that have begun go on.

        With `repeatable`, only attempts that were sent as such, and those whose response is read as a whole too.
        """
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(Abandoned(str(error), bytes_sent=False))
        self._waiters.clear()
        for connection in list(self._connections):
            if connection.repeatable and connection.held if repeatable else connection.waiting:
                connection.fail(Abandoned(str(error)))
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
        for connection in list(self._connections):
            if connection.waiting:
                connection.fail(ResponseLost(f"the pool to {self.name} was closed", reused=False))
            else:
                connection.fail(Truncated(f"the pool to {self.name} was closed"))

    def statistics(self) -> UpstreamStatistics:
        return UpstreamStatistics(
            open=len(self._connections),
            idle=len(self._idle),
            in_flight=len(self._connections) - len(self._idle),
            opening=len(self._opening),
            waiting=len(self._waiters),
            requests=self._requests,
            connects=self._connects,
            refused=self._refused,
            reused=self._reused,
        )

    # --- for the connections ---

    def released(self, connection: UpstreamConnection) -> None:
        """A connection is free, and fit for another request."""
        if connection not in self._connections:
            return  # it has only been greeted so far; `_open` decides
        now = self._clock.monotonic()
        if connection.old_at <= now:
            connection.abort()
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        if self._closed or self._retired or len(self._idle) >= self.settings.max_idle:
            connection.abort()
            return
        connection.idle_since = now
        self._idle.append(connection)
        if self._expiry is None:
            self._expiry = asyncio.get_running_loop().call_later(self.settings.idle_timeout_s, self._expire)

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection is gone, or will be in a moment."""
        if connection in self._connections:
            self._connections.discard(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._open_more()

    # --- internals ---

    async def _acquire(self) -> UpstreamConnection:
        if self._closed:
            raise RequestNotSent(f"the pool to {self.name} is closed")
        waiter: asyncio.Future[UpstreamConnection] = asyncio.get_running_loop().create_future()
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

    def _stop_waiting(self, waiter: asyncio.Future[UpstreamConnection]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        elif waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self.released(waiter.result())  # it was given a connection in the very moment that it left

    def _open_more(self) -> None:
        """Opens a connection for each waiter, as far as the limit allows."""
        if self._closed:
            return
        limit = self.settings.max_connections - len(self._connections)
        while len(self._opening) < min(limit, len(self._waiters)):
            self._opening.add(asyncio.get_running_loop().create_task(self._open()))

    async def _open(self) -> None:
        connection: UpstreamConnection | None = None
        error: UpstreamError
        try:
            async with asyncio.timeout(self.settings.connect_timeout_s):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(self), self._host, self._port, **self._secured()
                )
                if self._greeting is not None:
                    await self._greet(connection, self._greeting())
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
            self._connections.add(connection)
            connection.used = 0
            if self._tls is not None:
                connection.old_at = self._clock.monotonic() + self._tls.max_age_s
            self.released(connection)
            return
        finally:
            self._opening.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            if connection is not None and connection not in self._connections:
                connection.abort()
        self._refused += 1
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)
                break
        self._open_more()

    def _secured(self) -> _Secured:
        """How `create_connection` is to do TLS, if it is."""
        if self._tls is None:
            return {}
        toward = self._tls.toward()
        return {"ssl": toward.context, "server_hostname": toward.name, "ssl_shutdown_timeout": SHUTDOWN_S}

    async def _greet(self, connection: UpstreamConnection, greeting: bytes) -> None:
        attempt: Attempt = asyncio.get_running_loop().create_future()
        connection.start(greeting, None, attempt, head_only=False)
        response = await attempt
        await response.read()
        if response.status != 200:
            raise GreetingRefused(
                f"{self.name} refused the greeting with status {response.status}", response.status
            )
        if connection.closed:
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
