"""A port that behaves like the far end of a network: it is open, refuses, or leaves connects hanging."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from enum import Enum

BACKLOG = 128
FILLER_WAIT_S = 0.05
"""A loopback connect takes well under a millisecond; one that is not through by then is not going to be."""

log = logging.getLogger(__name__)

Address = tuple[str, int]


class DoorState(Enum):
    OPEN = "open"
    REFUSING = "refusing"
    HANGING = "hanging"


class Door:
    """One port on loopback in one of three states.

    * ``OPEN`` accepts and hands each connection to ``on_accept``.
    * ``REFUSING`` holds the port bound but not listening: the kernel answers connects with a reset.
    * ``HANGING`` answers nothing. A loopback listener completes handshakes by itself, so the door stops
      accepting, shrinks its backlog to nothing and fills what is left with connections of its own. Linux
      then drops each further SYN, and a client's connect hangs until its own timeout, or until the SYN
      retransmit (about every second) that follows the heal.

    ``open``, ``refuse`` and ``hang`` must not run side by side; the relay sees to that. A refusing door can
    lose its port to another process in the instant between release and rebinding (or if its owner
    binds with SO_REUSEADDR, too); then ``open`` and ``hang`` raise `OSError` and may be tried again.
    """

    def __init__(self, address: Address, on_accept: Callable[[socket.socket], None]) -> None:
        """Binds the port, refusing at first. Raises `OSError` if somebody listens on it."""
        self._address = address
        self._on_accept = on_accept
        self._fillers: dict[Address, socket.socket] = {}
        self._socket: socket.socket | None = _bind(address)
        self._state = DoorState.REFUSING

    @property
    def state(self) -> DoorState:
        return self._state

    def open(self) -> None:
        """Accepts connections, those that hung included."""
        if self._state is DoorState.OPEN:
            return
        listener = self._bound()
        listener.listen(BACKLOG)
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)
        self._state = DoorState.OPEN

    def refuse(self) -> None:
        """Refuses new connections and resets those not accepted yet."""
        if self._state is DoorState.REFUSING:
            return
        self.close()
        try:
            self._socket = _bind(self._address)
        except OSError as error:
            log.warning("port %d is held by somebody else: %s", self._address[1], error.strerror)

    async def hang(self) -> None:
        """Leaves new connections hanging; returns once they do."""
        if self._state is DoorState.HANGING:
            return
        loop = asyncio.get_running_loop()
        listener = self._bound()
        if self._state is DoorState.OPEN:
            loop.remove_reader(listener)
        self._state = DoorState.HANGING
        listener.listen(0)
        while await self._fill(loop):
            pass

    def close(self) -> None:
        """Gives the port up and resets what was not accepted. The door counts as refusing then."""
        if self._socket is not None:
            if self._state is DoorState.OPEN:
                asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        for filler in self._fillers.values():
            filler.close()
        self._fillers.clear()
        self._state = DoorState.REFUSING

    def _bound(self) -> socket.socket:
        if self._socket is None:
            self._socket = _bind(self._address)
        return self._socket

    async def _fill(self, loop: asyncio.AbstractEventLoop) -> bool:
        filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            async with asyncio.timeout(FILLER_WAIT_S):
                await loop.sock_connect(filler, self._address)
        except TimeoutError:
            if not _connected(filler):  # else this process was held up, not the connect
                filler.close()
                return False
        self._fillers[filler.getsockname()] = filler
        return True

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(BACKLOG):
            try:
                connection, peer = listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                log.warning("cannot accept on port %d: %s", self._address[1], error.strerror)
                return
            filler = self._fillers.pop(peer, None)
            if filler is not None:
                filler.close()
                connection.close()
                continue
            connection.settimeout(0)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._on_accept(connection)


def _bind(address: Address) -> socket.socket:
    """A bound socket that does not listen: it keeps the port ours while the kernel refuses connects to it."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _connected(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
    except OSError:
        return False
    return True
