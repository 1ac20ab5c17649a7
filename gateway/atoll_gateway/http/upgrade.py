"""Requests to speak WebSocket instead of HTTP on a connection (RFC 6455, section 4).

Any other upgrade is ignored, as RFC 9110, section 7.8 allows; HTTP/2 in clear text above all.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from atoll_gateway.tunnel import End

UPGRADE = "atoll.upgrade"
"""Key in ``scope["extensions"]`` under which a request for WebSocket, and no other, carries its `Upgrade`."""

_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
_FRAMING = frozenset((b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"keep-alive"))


class Switchable(Protocol):
    """A connection that waits for its protocol to be switched."""

    async def written(self) -> None:
        """Waits until what was answered before has been taken. Raises `ClientGone`."""

    def hand_over(self, head: bytes) -> End:
        """Writes the last head and lets go of the connection. Raises `ClientGone`."""


class Upgrade:
    """What an application may do with a request for WebSocket, besides answering it."""

    __slots__ = ("_connection", "idle_s")

    def __init__(self, connection: Switchable, idle_s: float | None) -> None:
        self._connection = connection
        self.idle_s = idle_s
        """Longest silence within the tunnel, in seconds; `None` for any."""

    async def ready(self) -> None:
        """Waits until `switch` can be called. Raises `ClientGone`."""
        await self._connection.written()

    def switch(self, headers: Sequence[tuple[bytes, bytes]]) -> End:
        """Answers 101 and hands the client's connection over; the exchange is then complete.

        Raises `ClientGone`, and `ValueError` before anything is written if a field would split the response.
        """
        lines = [b"%b: %b\r\n" % field for field in headers if field[0].lower() not in _FRAMING]
        fields = b"".join(lines)
        if fields.count(b"\n") != len(lines) or fields.count(b"\r") != len(lines) or b"\0" in fields:
            raise ValueError("a response header field holds a line break or a NUL")
        return self._connection.hand_over(_SWITCHING + fields + b"\r\n")


def asks_for_websocket(
    method: bytes, version: str, headers: Sequence[tuple[bytes, bytes]], fields: Mapping[bytes, bytes]
) -> bool:
    """Whether a request that names an upgrade asks for WebSocket alone. `fields` is ``dict(headers)``."""
    return (
        method == b"GET"
        and version == "1.1"
        and fields[b"upgrade"].lower() == b"websocket"
        and [name for name, _ in headers].count(b"upgrade") == 1
        and b"transfer-encoding" not in fields
        and fields.get(b"content-length", b"0") == b"0"
    )
