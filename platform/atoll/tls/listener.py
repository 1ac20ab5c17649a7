"""Accepts connections and shakes hands; a protocol learns of a connection once that is done.

Not `loop.create_server`: it keeps the context that it was given, so renewed certificates would need another listener,
and it has no bound for handshakes that are under way.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

HANDSHAKE_S = 5.0
"""Longest handshake. Two round trips of the longest links take half a second."""
HANDSHAKES = 256
"""Under way at once; one more ends the oldest. So connections that stall keep nobody out: who shakes hands in time
is through before its turn comes."""
SHUTDOWN_S = 10.0
"""How long the other side may take to say goodbye."""
PAUSE_S = 1.0
"""After an error of `accept`, such as no more file descriptors (as asyncio's own servers do)."""

log = logging.getLogger(__name__)


class TlsListener:
    """Listens on one socket, with the `context` that there is when a connection comes."""

    def __init__(
        self,
        listening: socket.socket,
        make: Callable[[], asyncio.Protocol],
        context: Callable[[], ssl.SSLContext],
        *,
        handshakes: int = HANDSHAKES,
        handshake_s: float = HANDSHAKE_S,
    ) -> None:
        listening.settimeout(0)  # it never blocks
        self._listening = listening
        self._make = make
        self._context = context
        self._limit = handshakes
        self._handshake_s = handshake_s
        self._shaking: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._loop = asyncio.get_running_loop()
        self._accepting = self._loop.create_task(self._accept())
        self._accepting.add_done_callback(lambda _: listening.close())

    @property
    def sockets(self) -> tuple[socket.socket]:
        return (self._listening,)

    def close(self) -> None:
        """Takes no more connections; those whose handshake is not over are closed."""
        for task in (self._accepting, *self._shaking):
            task.cancel()

    async def _accept(self) -> None:
        while True:
            try:
                accepted, peer = await self._loop.sock_accept(self._listening)
            except OSError as error:
                log.warning("connections can't be accepted", extra={"reason": str(error)})
                await asyncio.sleep(PAUSE_S)
                continue
            if len(self._shaking) >= self._limit:
                oldest = next(iter(self._shaking))
                del self._shaking[oldest]
                oldest.cancel()
            task = self._loop.create_task(self._shake(accepted, f"{peer[0]}:{peer[1]}"))
            self._shaking[task] = None
            task.add_done_callback(lambda shaken: self._shaking.pop(shaken, None))

    async def _shake(self, accepted: socket.socket, peer: str) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._make,
                accepted,
                ssl=self._context(),
                ssl_handshake_timeout=self._handshake_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except ssl.SSLCertVerificationError as error:
            log.warning("a connection is refused", extra={"peer": peer, "reason": error.verify_message})
        except ssl.SSLError as error:
            log.warning("a connection is refused", extra={"peer": peer, "reason": str(error)})
        except OSError:
            pass  # it went away, as health checks of load balancers do, or took too long


def bind(host: str, port: int, backlog: int) -> socket.socket:
    """A socket that listens. Raises `OSError` if the address can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=backlog)
