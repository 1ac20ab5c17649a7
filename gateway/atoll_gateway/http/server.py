"""The server side of the gateway: listeners that run an ASGI application over HTTP/1.1."""

import asyncio
import logging
import select
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from atoll.clock import Clock, SystemClock
from atoll.tls import Serving, TlsListener, bind
from atoll_gateway.http.exchange import Application
from atoll_gateway.http.limits import Limits
from atoll_gateway.http.protocol import HttpProtocol
from atoll_gateway.http.refusal import BUSY, Refusal

SWEEP_S = 0.25
"""How often the deadlines of all connections are looked at."""
LINGER_S = 2.0
"""How long the rest of a refused request is read and thrown away, so that its answer arrives."""
_BACKLOG = 1024

log = logging.getLogger("atoll.gateway.http")


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """A snapshot of one listener."""

    connections: int
    in_flight: int
    """Requests whose application is running, what it does after its response included."""
    requests: int
    """Requests handed to the application since the start."""
    disconnects: int
    """Requests given up because their client went away first."""
    refused: Mapping[str, int]
    """Requests and connections that the server refused or ended by itself, by reason."""
    draining: bool


def new_request_id() -> str:
    return uuid.uuid4().hex


class HttpServer:
    """One listener. Made, started once, then drained or closed.

    `application` is run once for each request, in a task of its own. When the client goes away before the
    response is complete, that task is cancelled (and `receive` gives `http.disconnect`, `send` raises
    `ClientGone`).
    """

    def __init__(
        self,
        application: Application,
        *,
        limits: Limits | None = None,
        clock: Clock | None = None,
        new_request_id: Callable[[], str] = new_request_id,
        sweep_s: float = SWEEP_S,
    ) -> None:
        self.application = application
        self.limits = limits or Limits()
        self.new_request_id = new_request_id
        self.draining = False
        self.tasks: set[asyncio.Task[None]] = set()
        self.requests = 0
        self.loop: asyncio.AbstractEventLoop
        self._clock: Clock = clock or SystemClock()
        self._sweep_s = sweep_s
        self._sweeper: asyncio.TimerHandle | None = None
        self._connections: set[HttpProtocol] = set()
        self._disconnects = 0
        self._refused: dict[str, int] = {}
        self._server: asyncio.Server | TlsListener | None = None
        self._address: tuple[str, int] = ("", 0)
        self._changed: asyncio.Event = asyncio.Event()
        self._set_deadlines()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that the server listens on; the port is the real one if it was started with port
        0.
        """
        return self._address

    async def start(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        sock: socket.socket | None = None,
        tls: Serving | None = None,
    ) -> None:
        """Listens, on `sock` if given. Raises `OSError` if the address cannot be had."""
        self.loop = asyncio.get_running_loop()
        if tls is not None:
            self._server = TlsListener(sock or bind(host, port, _BACKLOG), self._protocol, tls.context)
        elif sock is None:
            self._server = await self.loop.create_server(self._protocol, host, port, backlog=_BACKLOG)
        else:
            self._server = await self.loop.create_server(self._protocol, sock=sock, backlog=_BACKLOG)
        self._address = self._server.sockets[0].getsockname()[:2]
        self.sweep()

    def sweep(self) -> None:
        """Ends what has outlived a limit. Runs by itself every `sweep_s`; a test with its own clock may
        call it.
        """
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._set_deadlines()
        now = self._clock.monotonic()
        for connection in [c for c in self._connections if c.deadline <= now or c.write_deadline <= now]:
            connection.expire(now)
        self._sweeper = self.loop.call_later(self._sweep_s, self.sweep)

    async def drain(self, timeout_s: float, *, idle_grace_s: float = 0.5) -> bool:
        """Stops without losing a request, then closes; true if no request had to be cut.

        What the kernel has already accepted is served. Running requests finish; each response from now on
        announces the end of its connection. Idle connections are kept open for `idle_grace_s`, since a
        request may be on its way on them, and then closed. Requests that still run after `timeout_s` are cut.
        """
        self.draining = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._stop_listening()
                for connection in self._connections:
                    connection.wind_down()
                await self._until_closed(idle_grace_s)
                for connection in list(self._connections):
                    connection.close_idle()
                await self._until_closed(None)
        except TimeoutError:
            pass
        clean = not self.tasks
        if not clean:
            log.warning("requests were cut at the end of the drain", extra={"requests": len(self.tasks)})
        await self.close()
        return clean

    async def close(self) -> None:
        """Closes at once: stops listening, resets every connection, cancels every running request."""
        self.draining = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.abort()
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._connections:
            self._changed.clear()
            await self._changed.wait()

    def statistics(self) -> ServerStatistics:
        return ServerStatistics(
            connections=len(self._connections),
            in_flight=len(self.tasks),
            requests=self.requests,
            disconnects=self._disconnects,
            refused=MappingProxyType(dict(self._refused)),
            draining=self.draining,
        )

    # --- for the connections ---

    def opened(self, protocol: HttpProtocol) -> Refusal | None:
        self._connections.add(protocol)
        count = len(self._connections)
        if count <= self.limits.max_connections:
            return None
        if count > 2 * self.limits.max_connections:
            protocol.abort()  # even saying so would cost too much
        return BUSY

    def closed(self, protocol: HttpProtocol) -> None:
        self._connections.discard(protocol)
        self._changed.set()

    def left(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if self.draining:
            self._changed.set()

    def refused(self, reason: str) -> None:
        self._refused[reason] = self._refused.get(reason, 0) + 1

    def disconnected(self) -> None:
        self._disconnects += 1

    # --- internals ---

    def _protocol(self) -> HttpProtocol:
        return HttpProtocol(self)

    def _set_deadlines(self) -> None:
        self.now = self._clock.monotonic()
        start = self.now + self._sweep_s  # what starts now is next looked at with the coming sweep
        limits = self.limits
        self.header_by = start + limits.header_timeout_s
        self.body_by = start + limits.body_timeout_s
        self.keep_alive_by = start + limits.keep_alive_s
        self.write_by = start + limits.write_timeout_s
        self.linger_by = start + LINGER_S

    async def _stop_listening(self) -> None:
        """Stops listening once the kernel's queue of accepted connections is empty: closing resets those
        in it.
        """
        if self._server is None:
            return
        poll = select.poll()
        for listening in self._server.sockets:
            poll.register(listening.fileno(), select.POLLIN)
        quiet = (
            0  # turns of the loop; asyncio needs some between accepting a connection and making its protocol
        )
        while quiet < 3:
            quiet = 0 if poll.poll(0) else quiet + 1
            await asyncio.sleep(0)
        self._server.close()
        self._server = None

    async def _until_closed(self, seconds: float | None) -> None:
        """Waits until no connection and no request is left, or for `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while self._connections or self.tasks:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
