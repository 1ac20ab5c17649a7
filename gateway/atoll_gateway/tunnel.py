"""Two connections joined into a tunnel: what comes in at one goes out at the other, until both have ended.

Nothing is looked at or held: a side that takes data too slowly stops the reading of the other, so no more than two
send buffers and two reads are in memory. What one side sent before its end still reaches the other. Where one of them
has TLS, which knows no half-closed connections, the end of either is the end of both.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

HALF_CLOSED_S = 10.0
"""Longest silence once one side has ended. Only what is under way the other way is still waited for."""

KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""A host that vanished without a word is noticed after a minute; the kernel's default is over two hours."""


@dataclass(frozen=True, slots=True)
class End:
    """A connection that has stopped speaking HTTP and is ready to be one end of a tunnel."""

    transport: asyncio.Transport
    early: bytes
    """What has come on it behind the head that ended HTTP."""
    lost: Callable[[Exception | None], None]
    """Told when the connection is gone, as `asyncio.Protocol.connection_lost`."""


class Tunnel:
    """Joins two connections. Made and then `run` once."""

    __slots__ = ("_done", "_far", "_idle_s", "_last", "_loop", "_near", "_timer", "half_closes")

    def __init__(self, near: End, far: End, idle_s: float | None) -> None:
        """`idle_s` ends a tunnel through which nothing came for that long, in either direction."""
        self._loop = asyncio.get_running_loop()
        self._idle_s = idle_s
        self._last = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._done: asyncio.Future[None] = self._loop.create_future()
        self.half_closes = near.transport.can_write_eof() and far.transport.can_write_eof()
        self._near = _Side(self, near)
        self._far = _Side(self, far)
        self._near.other = self._far
        self._far.other = self._near
        self._near.start(near.early)
        self._far.start(far.early)
        self._watch()

    @property
    def bytes_out(self) -> int:
        """Bytes that the far side has sent."""
        return self._far.bytes

    async def run(self) -> None:
        """Waits for the end of both connections. If it is cancelled, both are closed at once."""
        try:
            await self._done
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self.abort()

    def abort(self) -> None:
        """Closes both connections; what they have not sent is lost."""
        self._near.transport.abort()
        self._far.transport.abort()

    # --- for the sides ---

    def moved(self) -> None:
        """Data has come."""
        self._last = self._loop.time()

    def half_closed(self) -> None:
        """One side has ended, so from now on the shorter limit holds."""
        if self._idle_s is None or self._idle_s > HALF_CLOSED_S:
            self._idle_s = HALF_CLOSED_S
            self.moved()
            self._watch()

    def lost(self) -> None:
        """A connection is gone."""
        if self._near.lost and self._far.lost and not self._done.done():
            self._done.set_result(None)

    def _watch(self) -> None:
        """Ends the tunnel if it was silent for too long, and else comes back when it may have been."""
        if self._timer is not None:
            self._timer.cancel()
        if self._idle_s is None or self._done.done():
            return
        left = self._last + self._idle_s - self._loop.time()
        if left <= 0:
            self.abort()
        else:
            self._timer = self._loop.call_later(left, self._watch)


class _Side(asyncio.Protocol):
    """One of the two connections: what comes in here is written to the other."""

    __slots__ = ("_ended", "_gone", "_tunnel", "bytes", "lost", "other", "transport")

    other: "_Side"

    def __init__(self, tunnel: Tunnel, end: End) -> None:
        self._tunnel = tunnel
        self._gone = end.lost
        self._ended = False  # nothing more comes from here
        self.transport = end.transport
        self.lost = False
        self.bytes = 0

    def start(self, early: bytes) -> None:
        """Takes the connection over."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEPALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
        self.transport.set_protocol(self)
        if early:
            self.data_received(early)
        if not self.transport.is_closing() and not self.transport.is_reading():
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._tunnel.moved()
        self.bytes += len(data)
        self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Passes the end on; the other direction stays open until it has ended too."""
        self._ended = True
        if self.other.transport.is_closing():
            return False
        if self.other._ended or not self._tunnel.half_closes:  # noqa: SLF001 - the other half of the same thing
            self.other.transport.close()
            return False
        self.other.transport.write_eof()
        self._tunnel.half_closed()
        return True

    def pause_writing(self) -> None:
        self.other.stop()

    def resume_writing(self) -> None:
        self.other.go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._gone(exc)
        if not self.other.transport.is_closing():  # twice breaks asyncio's transports of TLS
            self.other.transport.close()  # after what it still has to send
        self._tunnel.half_closed()
        self._tunnel.lost()

    def stop(self) -> None:
        """Reads no more until `go_on`: the other side takes it too slowly."""
        if not self._ended and not self.transport.is_closing():
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Reads again."""
        if not self._ended and not self.transport.is_closing():
            self.transport.resume_reading()
