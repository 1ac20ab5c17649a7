"""A server on loopback that answers users' requests as a test wants it to, one connection at a time."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from loadtests.users.client import Origin

RESET = b"reset"
"""In place of an answer: the connection is reset."""


def answer(body: bytes = b"{}", status: int = 200, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Scripted:
    """`says` gets each request's head, and its answer is sent; an empty one ends the connection."""

    origin: Origin
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0

    def serve(self, listener: socket.socket, says: Callable[[bytes], bytes]) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.connections += 1
                with connection, contextlib.suppress(OSError):
                    self._talk(connection, says)

    def _talk(self, connection: socket.socket, says: Callable[[bytes], bytes]) -> None:
        while data := connection.recv(65536):
            self.heads.append(data)
            said = says(data)
            if said == RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            connection.sendall(said)
            if not said or b"connection: close" in said:
                return


@contextlib.contextmanager
def scripted(says: Callable[[bytes], bytes]) -> Iterator[Scripted]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Scripted(Origin("127.0.0.1", listener.getsockname()[1]))
        thread = threading.Thread(target=server.serve, args=(listener, says), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=5)
