"""One client connection: bytes to exchanges and back, in order, within the limits."""

import asyncio
import socket
import struct
from collections import deque
from typing import Protocol, cast
from urllib.parse import unquote

import httptools

from atoll_gateway.http.connection import EXTENSION, Connection
from atoll_gateway.http.exchange import Application, ClientGone, Exchange, Scope, problem_response
from atoll_gateway.http.limits import Limits
from atoll_gateway.http.problem import Problem
from atoll_gateway.http.refusal import (
    BODY_TIMEOUT,
    HEADER_TIMEOUT,
    Refusal,
    Refused,
    body_too_large,
    check_head,
    check_host,
    framing_overhead,
    origin_form,
    too_long,
    unreadable,
)
from atoll_gateway.http.repeated import RepeatedFields, learn
from atoll_gateway.http.upgrade import UPGRADE, Upgrade, asks_for_websocket
from atoll_gateway.tunnel import End

_ASGI = {"version": "3.0", "spec_version": "2.4"}
_NEVER = float("inf")
_RESET = struct.pack("ii", 1, 0)  # linger for no time at all
_HIGH_WATER = 64 * 1024

# What of a request is being read.
_NOTHING, _HEAD, _BODY = range(3)


class Listener(Protocol):
    """What a connection needs of its server. The ``*_by`` are deadlines that start `now`, on the server's coarse
    clock; they are kept ready because they are needed with every request.
    """

    application: Application
    limits: Limits
    header_by: float
    body_by: float
    keep_alive_by: float
    write_by: float
    linger_by: float
    now: float
    draining: bool
    tasks: set[asyncio.Task[None]]
    loop: asyncio.AbstractEventLoop
    requests: int

    def opened(self, protocol: "HttpProtocol") -> Refusal | None:
        """Takes the connection in; a refusal means that it is one too many."""

    def closed(self, protocol: "HttpProtocol") -> None: ...

    def left(self, task: asyncio.Task[None]) -> None:
        """The application has returned."""

    def refused(self, reason: str) -> None: ...

    def disconnected(self) -> None: ...

    def new_request_id(self) -> str: ...


class HttpProtocol(asyncio.Protocol):
    """HTTP/1.1 and HTTP/1.0 on one connection.

    One exchange runs at a time; pipelined requests are parsed, kept, and stop the reading until they are
    served. When the client closes its side (half-closing included) or resets, the running application task is
    cancelled, so that whatever it waits for upstream is given up too. While reading is paused, by a full body
    buffer or by pipelined requests, the end of the client is noticed only once reading goes on or a write
    fails.
    """

    __slots__ = (
        "_connection",
        "_current",
        "_done",
        "_early",
        "_ending",
        "_extensions",
        "_fed",
        "_good_host",
        "_headers",
        "_held",
        "_incoming",
        "_limits",
        "_old_at",
        "_parser",
        "_paused",
        "_piece",
        "_queue",
        "_reading",
        "_repeated",
        "_server",
        "_server_address",
        "_target",
        "_transport",
        "_upgrade",
        "_upgrading",
        "deadline",
        "drained",
        "write_deadline",
    )

    def __init__(self, server: Listener) -> None:
        self._server = server
        self._limits = server.limits
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Exchange | Refusal] = deque()
        self._current: Exchange | None = None  # the exchange whose response is due
        self._incoming: Exchange | None = None  # the exchange whose request is being read
        self._headers: list[tuple[bytes, bytes]] = []
        self._target = b""
        self._held = b""  # a response head that waits for its body
        self._good_host: bytes | None = None
        self._reading = _NOTHING
        self._repeated: RepeatedFields | None = None
        self._fed = 0  # bytes of the message being read, from earlier reads
        self._piece = 0  # bytes of this read
        self._paused = False
        self._upgrading = False
        self._upgrade: Upgrade | None = None  # a request for WebSocket, the last one of this connection
        self._early = b""  # what came behind that request
        self._ending = False  # no further request is read from this connection
        self._done = False  # the last response is written, and only has to get out
        self.drained: asyncio.Future[None] | None = None
        self.deadline = _NEVER
        self.write_deadline = _NEVER

    @property
    def idle(self) -> bool:
        """No request is being read or answered."""
        return self._current is None and self._reading == _NOTHING

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        local = transport.get_extra_info("sockname")
        self._connection = Connection(
            peer[:2] if isinstance(peer, tuple) else None, transport.get_extra_info("peercert")
        )
        self._old_at = self._server.now + self._limits.max_age_s
        self._server_address = local[:2] if isinstance(local, tuple) else None
        self._extensions: dict[str, object] = {EXTENSION: self._connection}
        self.deadline = self._server.header_by
        refusal = self._server.opened(self)
        if refusal is not None:
            self._ending = True
            self._answer(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ending = True
        self._held = b""
        self._server.closed(self)
        self._client_gone()
        self.resume_writing()

    def eof_received(self) -> bool:
        self._ending = True
        self._client_gone()
        return False

    def pause_writing(self) -> None:
        self.drained = self._server.loop.create_future()
        self.write_deadline = self._server.write_by

    def resume_writing(self) -> None:
        if not self._done:
            self.write_deadline = _NEVER
        if self.drained is not None:
            self.drained.set_result(None)
            self.drained = None

    def data_received(self, data: bytes) -> None:
        if self._ending:
            if self._upgrade is not None:
                self._keep_early(data)
            return  # thrown away, so that the last response is not lost to a reset
        if self._repeated is not None and self._read_repeated(self._repeated, data):
            return
        self._piece = piece = len(data)
        begins = not self._fed  # with a request, not within one
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self._upgrade is None:
                self._read_on_without_upgrade(rest)
            else:
                self.deadline = _NEVER
                self._keep_early(rest)
            return
        except httptools.HttpParserError as error:
            if not self._ending:  # what follows the last request does not matter
                cause = error.__context__
                self._refuse(cause.refusal if isinstance(cause, Refused) else unreadable(error, data))
            return
        self._fed += piece
        if self._reading == _NOTHING:
            if self._current is not None:
                self.deadline = _NEVER
                if begins and not self._fed and not self._queue:
                    self._repeated = learn(data, self._current.scope["headers"])
        elif self._reading == _HEAD:
            if self._fed > self._limits.header_bytes or len(self._target) > self._limits.target_bytes:
                self._refuse(too_long(self._target, self._limits))
        elif self._incoming is not None:
            self.deadline = _NEVER if self._paused else self._server.body_by
            # Chunk extensions, trailers and tiny chunks reach no application, and are bounded all the same.
            if self._fed > 2 * self._limits.header_bytes + 8 * self._incoming.received:
                self._refuse(framing_overhead())

    def _read_repeated(self, repeated: RepeatedFields, data: bytes) -> bool:
        """Takes in a request whose fields are those of the one before; false if it is not one, or not at its turn."""
        if self._current is not None or self._reading != _NOTHING or self._fed:
            return False
        line = repeated.line(data)
        if line is None:
            return False
        method, target = line.groups()
        limits = self._limits
        if len(target) > limits.target_bytes or len(data) > limits.header_bytes:
            return False
        exchange = Exchange(
            self,
            self._scope(method, target, "1.1", repeated.headers, self._extensions),
            http_1_0=False,
            keep_alive=True,
            expects_continue=False,
        )
        exchange.body_complete = True
        self.deadline = _NEVER
        self._begin(exchange)
        return True

    def _scope(
        self,
        method: bytes,
        target: bytes,
        version: str,
        headers: list[tuple[bytes, bytes]],
        extensions: dict[str, object],
    ) -> Scope:
        raw_path, _, query = target.partition(b"?")
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": method.decode("ascii"),
            "scheme": "http",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "atoll.target": target,
            "root_path": "",
            "headers": headers,
            "client": self._connection.peer,
            "server": self._server_address,
            "extensions": extensions,
        }

    # --- llhttp ---

    def on_message_begin(self) -> None:
        self._reading = _HEAD
        self._headers = []
        self._target = b""
        self.deadline = self._server.header_by

    def on_url(self, piece: bytes) -> None:
        self._target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading == _HEAD:  # else a trailer, which is dropped
            self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        headers = self._headers
        target = self._target
        limits = self._limits
        fields = dict(headers)
        method = self._parser.get_method()
        version = self._parser.get_http_version()
        upgrade: Upgrade | None = None
        if b"upgrade" in fields and self._parser.should_upgrade() and method != b"CONNECT":
            if not asks_for_websocket(method, version, headers, fields):
                self._upgrading = True
                return
            upgrade = Upgrade(self, limits.tunnel_idle_s)
        if self._piece > limits.header_bytes or self._fed > 0:
            size = len(target) + sum([len(name) + len(value) + 4 for name, value in headers])
            if size > limits.header_bytes:
                raise Refused(too_long(target, limits))
        check_head(method, target, version, headers, fields, limits)
        if not target.startswith(b"/") or b"#" in target:
            authority, target = origin_form(method, target)
            if authority is not None:
                headers = [(b"host", authority), *[field for field in headers if field[0] != b"host"]]
                fields[b"host"] = authority
        host = fields.get(b"host")
        if host is None:  # HTTP/1.0 may leave out what HTTP/1.1 needs on the way on
            headers = [(b"host", self._own_host()), *headers]
        elif host != self._good_host:
            check_host(host)
            self._good_host = host
        keep_alive = self._parser.should_keep_alive()
        if keep_alive and b"close" in (options := fields.get(b"connection", b"").lower()):
            keep_alive = b"close" not in [option.strip() for option in options.split(b",")]

        extensions = self._extensions
        if upgrade is not None:
            keep_alive = False  # whatever follows belongs to the tunnel, or to nothing
            extensions = {**extensions, UPGRADE: upgrade}
        exchange = Exchange(
            self,
            self._scope(method, target, version, headers, extensions),
            http_1_0=version == "1.0",
            keep_alive=keep_alive,
            expects_continue=b"expect" in fields and version == "1.1",
        )
        self._reading = _BODY
        self._incoming = exchange
        self._upgrade = upgrade
        if self._current is None:
            self._begin(exchange)
        else:
            self._queue.append(exchange)
            self._pause()

    def on_body(self, data: bytes) -> None:
        exchange = self._incoming
        if exchange is None:
            return
        exchange.feed(data)
        limit = self._limits.body_bytes
        if limit is not None and exchange.received > limit:
            raise Refused(body_too_large())
        if exchange.buffered > _HIGH_WATER:
            self._pause()

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        self._reading = _NOTHING
        self._fed = -self._piece  # the rest of this read is another message's
        exchange = self._incoming
        self._incoming = None
        if exchange is not None:
            exchange.feed_end()
            if not exchange.keep_alive:
                self._ending = True

    def _read_on_without_upgrade(self, rest: bytes) -> None:
        """Reads the request again as if it had not asked to upgrade, as RFC 9110, section 7.8 allows.

        llhttp takes what follows an upgrade request for another protocol, its body included. So it gets the
        head once more, without the upgrade.
        """
        self._upgrading = False
        lines = [
            b"%b %b HTTP/%b"
            % (self._parser.get_method(), self._target, self._parser.get_http_version().encode())
        ]
        for name, value in self._headers:
            if name == b"connection":
                options = [option.strip() for option in value.split(b",")]
                left = b", ".join([option for option in options if option.lower() != b"upgrade"])
                lines.append(b"connection: " + left)
            elif name != b"upgrade":
                lines.append(b"%b: %b" % (name, value))
        self._parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _keep_early(self, data: bytes) -> None:
        """Keeps what follows a request for WebSocket until that is answered; it is read by nobody before."""
        self._early += data
        if len(self._early) > _HIGH_WATER:
            self._pause()

    def _own_host(self) -> bytes:
        host, port = self._server_address or ("", 0)
        return f"[{host}]:{port}".encode() if ":" in host else f"{host}:{port}".encode()

    # --- for an upgrade ---

    async def written(self) -> None:
        """Waits until what was answered before has been taken. Raises `ClientGone`."""
        while self.drained is not None:
            await asyncio.shield(self.drained)
        if self._current is None:
            raise ClientGone("the client has closed the connection")

    def hand_over(self, head: bytes) -> End:
        """Writes the last head and lets go of the connection. Raises `ClientGone`.

        It still counts as one of the server's, and as busy, until `connection_lost`.
        """
        exchange = self._current
        if exchange is None:
            raise ClientGone("the client has closed the connection")
        exchange.started = exchange.complete = True
        self._transport.write(head)
        early, self._early = self._early, b""
        return End(self._transport, early, self.connection_lost)

    # --- for the exchange ---

    def hold(self, head: bytes) -> None:
        """Writes `head` together with what follows at once, or else in the loop's next turn.

        uvloop writes straight through, so a head and a body on their own would cost a system call and a packet each.
        """
        self._held = head
        self._server.loop.call_soon(self._flush)

    def write(self, data: bytes) -> None:
        if not self._held:
            self._transport.write(data)
        elif len(data) < _HIGH_WATER:
            data = self._held + data
            self._held = b""
            self._transport.write(data)
        else:
            self._flush()
            self._transport.write(data)

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def want_body(self) -> None:
        self._resume()

    def finished(self, exchange: Exchange) -> None:
        self._flush()
        if not exchange.keep_alive or (self._server.draining and not self._queue):
            asked_to_close = self._ending and not self._server.draining
            self._end(linger=not asked_to_close or bool(self._queue))
            return
        self._current = None
        if self._queue:
            following = self._queue.popleft()
            if isinstance(following, Refusal):
                self._answer(following)
                return
            self._begin(following)
            if not self._queue:
                self._resume()
            return
        self._resume()  # a body that nobody read may have stopped the reading
        if self._reading == _NOTHING:
            self.deadline = self._server.keep_alive_by

    def failed(self, exchange: Exchange, problem: Problem) -> None:
        if exchange.started:
            self._cut(exchange)
        else:
            self._write_problem(problem, exchange)
            self._end(linger=True)

    def left(self, exchange: Exchange) -> None:
        if exchange.task is not None:
            self._server.left(exchange.task)

    # --- for the server ---

    def expire(self, now: float) -> None:
        """Ends what has taken longer than its limit."""
        if self.write_deadline <= now and self._transport.get_write_buffer_size() > 0:
            self._server.refused("write-timeout")
            self.abort()
        elif self.deadline > now:
            return
        elif self._done:
            if self._transport.get_write_buffer_size() == 0:
                self._transport.abort()
        elif self._reading == _NOTHING:
            self.close_idle()
        else:
            self._refuse(BODY_TIMEOUT if self._reading == _BODY else HEADER_TIMEOUT)

    def wind_down(self) -> None:
        """Has the last response that is due announce the end of the connection."""
        if self._current is not None and not self._queue:
            self._current.keep_alive = False

    def close_idle(self) -> None:
        """Closes the connection if no request is being read or answered on it."""
        if self.idle and not self._done:
            self._end(linger=False)

    def abort(self) -> None:
        """Resets the connection, so that what has come cannot be taken for all; a running task is cancelled."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    # --- internals ---

    def _begin(self, exchange: Exchange) -> None:
        server = self._server
        self._current = exchange
        server.requests += 1
        if server.draining or server.now >= self._old_at:
            self.wind_down()
        exchange.task = task = server.loop.create_task(exchange.run(server.application))
        server.tasks.add(task)

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._queue:
            self._paused = False
            self._transport.resume_reading()
            if self._reading == _BODY:
                self.deadline = self._server.body_by

    def _client_gone(self) -> None:
        self._queue.clear()
        if (exchange := self._current) is not None:
            self._current = None
            if not exchange.complete:
                self._server.disconnected()
            exchange.abandon()

    def _refuse(self, refusal: Refusal) -> None:
        """Answers the request that is being read, after those before it, and ends the connection."""
        self._ending = True
        refused = self._incoming
        self._incoming = None
        self._reading = _NOTHING
        self.deadline = _NEVER
        if self._current is None:
            self._answer(refusal)
        elif refused is self._current:
            if refused.started:
                self._server.refused(refusal.reason)
                refused.abandon()
                self._cut(refused)
            else:
                refused.abandon()
                self._answer(refusal, refused)
        else:
            if refused is not None:
                self._queue.pop()
            self._queue.append(refusal)

    def _answer(self, refusal: Refusal, exchange: Exchange | None = None) -> None:
        self._server.refused(refusal.reason)
        self._write_problem(refusal.problem, exchange)
        self._end(linger=True)

    def _write_problem(self, problem: Problem, exchange: Exchange | None) -> None:
        head_only = exchange is not None and exchange.head_only
        self._transport.write(problem_response(problem, self._server.new_request_id(), head_only=head_only))

    def _cut(self, exchange: Exchange) -> None:
        """Ends a response in its middle so that the client can tell: by a reset where only the end of the
        connection frames the body, else by leaving it unfinished.
        """
        self._current = None
        self._ending = True
        self._flush()
        if exchange.http_1_0:
            self.abort()
        else:
            self._transport.close()

    def _end(self, *, linger: bool) -> None:
        """Ends the connection after what has been written.

        With `linger`, what the client may still be sending is read and thrown away for a while: closing at
        once would reset the connection, and with it the response.
        """
        self._current = None
        self._queue.clear()
        self._ending = True
        if self._done or self._transport.is_closing():
            return
        self._flush()
        self._done = True
        self.deadline = self._server.linger_by
        self.write_deadline = self._server.write_by
        if linger and self._transport.can_write_eof():
            self._transport.write_eof()
            self._resume()
        else:  # with TLS it reads on, and throws away, until the other side has said goodbye too
            self._transport.close()
