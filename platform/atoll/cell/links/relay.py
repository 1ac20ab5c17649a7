"""One relay: a port on loopback that forwards to a gateway of another cell over a link."""

import asyncio
import logging
import socket
import struct
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from atoll.cell.links.config import RelayConfig
from atoll.cell.links.door import Door, DoorState
from atoll.cell.links.shape import Direction, Flow, Item, Mark, Shape
from atoll.clock import Clock

LOOPBACK = "127.0.0.1"
TICK_S = 0.001
"""Deliveries are grouped by about this much: one timer serves all that falls due meanwhile."""

POLL_S = 0.1
"""How often a target that refused is asked whether it is back."""

PROBE_TIMEOUT_S = 1.0

log = logging.getLogger(__name__)


class Line:
    """A `Direction` on the event loop: it wakes when something is due."""

    __slots__ = ("_clock", "_direction", "_loop", "_timer", "_wake_at")

    def __init__(self, direction: Direction, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._direction = direction
        self._clock = clock
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at = 0.0

    @property
    def direction(self) -> Direction:
        return self._direction

    @property
    def shape(self) -> Shape:
        return self._direction.shape

    def send(self, flow: Flow, item: Item) -> None:
        self._direction.send(flow, item)
        self.kick()

    def kick(self) -> None:
        """Delivers what is due and sets the timer for the rest."""
        self._direction.deliver_due()
        event = self._direction.next_event()
        if self._timer is not None:
            if event is not None and self._wake_at <= event:
                return
            self._timer.cancel()
            self._timer = None
        if event is not None:
            self._wake_at = event
            wait = max(event - self._clock.monotonic(), 0.0) + TICK_S / 2
            self._timer = self._loop.call_later(wait, self._wake)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        self._timer = None
        self.kick()


class End(asyncio.Protocol):
    """One of the two sockets of a connection. What it reads goes over ``line`` to the other."""

    def __init__(self, session: "Session", line: Line) -> None:
        self.other: End = self
        self.congested = False  # its socket takes no more at the moment
        self._session = session
        self._line = line
        self._flow = Flow(self._delivered)
        self._transport: asyncio.Transport | None = None
        self._established = False  # the handshake is through: bytes may be read and sent
        self._early: list[Item] = []  # what came before that
        self._reading = False
        self._read_end = False  # its FIN or reset was read
        self._write_end = False  # a FIN was written to it
        self._dead = False  # reset, by us or by its peer

    @property
    def open(self) -> bool:
        return self._transport is not None

    def handshake(self, mark: Mark) -> None:
        """Sends what does not wait for the handshake: the handshake itself, or its refusal."""
        self._line.send(self._flow, mark)

    def send(self, item: Item) -> None:
        """Sends after the handshake, in order."""
        if self._established:
            self._line.send(self._flow, item)
        else:
            self._early.append(item)

    def establish(self) -> None:
        self._established = True
        early, self._early = self._early, []
        for item in early:
            self._line.send(self._flow, item)
        self.update_reading()

    def update_reading(self) -> None:
        """Reads if the handshake is through, nothing is cut, and neither queue nor far socket is full.

        A cut stops reading at once: the sender's own socket buffer fills up then, as on a real network,
        and its FIN or reset stays unseen until the heal.
        """
        if self._transport is None or self._dead or self._read_end:
            return
        shape = self._line.shape
        # Resuming at half the window spares a pause and a resume for every chunk.
        window = shape.window_bytes if self._reading else shape.window_bytes // 2
        reading = (
            self._established and not shape.cut and self._flow.pending < window and not self.other.congested
        )
        if reading and not self._reading:
            self._transport.resume_reading()
        elif self._reading and not reading:
            self._transport.pause_reading()
        self._reading = reading

    def receive(self, item: Item) -> None:
        """Takes what has come over the link from the other end."""
        if item is Mark.SYN:
            self._session.connect()
        elif item is Mark.SYN_ACK:
            self.establish()  # even if dead by now: what killed it has to be sent
        elif not self._dead:
            self._receive(item)

    def _receive(self, item: Item) -> None:
        transport = self._transport
        match item:
            case Mark.FIN if transport is not None:
                self._write_end = True
                if self._read_end:
                    transport.close()
                else:
                    with suppress(OSError):  # its peer has reset it: connection_lost is on its way
                        transport.write_eof()
            case Mark.RESET:
                self.kill()
            case bytes() | memoryview() if transport is not None:
                transport.write(item)

    def kill(self) -> None:
        """Resets the socket towards its peer, at once."""
        self._dead = True
        if self._transport is None:
            return
        connection = self._transport.get_extra_info("socket")
        if connection is not None:  # else the transport is closed already
            with suppress(OSError):  # gone: nothing left to reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        if self._dead:  # the connection was lost while the target was being connected
            self.kill()

    def data_received(self, data: bytes) -> None:
        self.send(data)
        if not self._reading and self._transport is not None:
            self._transport.pause_reading()  # a new transport reads (uvloop's even if paused when it was made)
        elif self._flow.pending >= self._line.shape.window_bytes:
            self.update_reading()

    def eof_received(self) -> bool:
        self._read_end = True
        self.send(Mark.FIN)
        return not self._write_end  # true: half-closed, stay open for what comes the other way

    def pause_writing(self) -> None:
        self.congested = True
        self.other.update_reading()

    def resume_writing(self) -> None:
        self.congested = False
        self.other.update_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if not self._dead and not (error is None and self._read_end and self._write_end):
            self._dead = True
            self.send(Mark.RESET)
        self._session.ended()

    def _delivered(self, item: Item) -> None:
        self.other.receive(item)
        if not self._reading:
            self.update_reading()


class Session:
    """A connection through the relay: the client's socket (near) and the target's (far).

    The handshake pays the latency, too: the target is connected when the client's SYN has crossed the
    link, and the client's bytes are read when the answer has come back.
    """

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self.near = End(self, relay.forward)
        self.far = End(self, relay.backward)
        self.near.other, self.far.other = self.far, self.near

    async def start(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: self.near, connection)
        except OSError:  # the client reset it before we looked
            connection.close()
            self.ended()
            return
        self.near.handshake(Mark.SYN)

    def connect(self) -> None:
        self._relay.spawn(self._connect())

    def update_reading(self) -> None:
        self.near.update_reading()
        self.far.update_reading()

    def lose(self) -> None:
        """Loses the connection: both ends are reset, each when the news has crossed the link."""
        self.near.send(Mark.RESET)
        self.far.send(Mark.RESET)

    def kill(self) -> None:
        self.near.kill()
        self.far.kill()

    def ended(self) -> None:
        if not self.near.open and not self.far.open:
            self._relay.sessions.discard(self)

    async def _connect(self) -> None:
        target = self._relay.config
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self.far, target.target_host, target.target_port)
        except OSError as error:
            if isinstance(error, ConnectionRefusedError):
                self._relay.refused()
            else:
                log.warning(
                    "%s cannot reach %s:%d: %s", self._relay, target.target_host, target.target_port, error
                )
            self.far.handshake(Mark.RESET)
            return
        self.far.handshake(Mark.SYN_ACK)
        self.far.establish()


@dataclass(frozen=True, slots=True)
class RelayStatistics:
    """A snapshot of one relay. ``accepted`` and ``refused`` (by the target) count since the start."""

    source: str
    destination: str
    listen_port: int
    target_host: str
    target_port: int
    state: DoorState
    connections: int
    accepted: int
    refused: int


class Relay:
    """Forwards connections from its port to its target, as the link allows.

    The target counts as refusing until a probe has reached it, and again from its first refusal on;
    only then is it polled. While the link is cut in either direction new connections hang (either the
    SYN or its answer would be lost), whatever the target does.
    """

    def __init__(self, config: RelayConfig, forward: Line, backward: Line) -> None:
        """Binds the port. Raises `OSError` if it is taken."""
        self.config = config
        self.forward = forward
        self.backward = backward
        self.sessions: set[Session] = set()
        self._door = Door((LOOPBACK, config.listen_port), self._accepted)
        self._tasks: set[asyncio.Task[None]] = set()
        self._settling = asyncio.Lock()
        self._changed = asyncio.Event()
        self._target_alive = False
        self._count_accepted = 0
        self._count_refused = 0

    def __str__(self) -> str:
        return f"relay {self.config.source} -> {self.config.destination} (port {self.config.listen_port})"

    def start(self) -> None:
        self.spawn(self._tend())

    async def reshaped(self) -> None:
        """Takes up changed shapes; returns when new connections are treated by them."""
        for session in self.sessions:
            session.update_reading()
        await self._settle()
        self._changed.set()

    def refused(self) -> None:
        """The target has refused a connection: refuse, too, until it is back."""
        self._count_refused += 1
        self._target_alive = False
        self._changed.set()

    def lose(self) -> int:
        """Loses every connection of the relay; returns how many."""
        lost = tuple(self.sessions)
        for session in lost:
            session.lose()
        return len(lost)

    async def close(self) -> None:
        """Ends the relay; connections are reset."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._door.close()
        for session in tuple(self.sessions):
            session.kill()

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def statistics(self) -> RelayStatistics:
        config = self.config
        return RelayStatistics(
            source=config.source,
            destination=config.destination,
            listen_port=config.listen_port,
            target_host=config.target_host,
            target_port=config.target_port,
            state=self._door.state,
            connections=len(self.sessions),
            accepted=self._count_accepted,
            refused=self._count_refused,
        )

    @property
    def _cut(self) -> bool:
        return self.forward.shape.cut or self.backward.shape.cut

    def _accepted(self, connection: socket.socket) -> None:
        self._count_accepted += 1
        session = Session(self)
        self.sessions.add(session)
        self.spawn(session.start(connection))

    async def _tend(self) -> None:
        """Keeps the door in step with target and cuts, for as long as the relay lives."""
        while True:
            self._changed.clear()
            await self._settle()
            if self._target_alive or self._cut:
                await self._changed.wait()
                continue
            self._target_alive = await self._probe()
            if not self._target_alive:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._changed.wait()

    async def _settle(self) -> None:
        async with self._settling:
            try:
                if self._cut:
                    await self._door.hang()
                elif self._target_alive:
                    self._door.open()
                else:
                    self._door.refuse()
            except OSError as error:
                log.warning("%s cannot listen: %s", self, error.strerror)
                self._target_alive = False  # leads to another try

    async def _probe(self) -> bool:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    await loop.sock_connect(probe, (self.config.target_host, self.config.target_port))
            except OSError:  # TimeoutError is one
                return False
        return True
