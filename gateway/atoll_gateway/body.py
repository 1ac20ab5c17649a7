"""Request bodies: held in memory when small, so that they can be sent again, streamed when large.

A body that is larger than what is held is no error, it merely can't be replayed (as in linkerd2's retry policy).
"""

from collections.abc import AsyncIterator

from atoll_gateway.http.exchange import ClientGone, Receive

REPLAY_BYTES = 64 * 1024
"""A body up to this length is held and may be sent again; linkerd2-proxy holds the same."""


class HeldBody:
    """A body that is wholly in memory."""

    __slots__ = ("_content",)

    replayable = True

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def length(self) -> int:
        """In bytes."""
        return len(self._content)

    def open(self) -> bytes:
        return self._content


EMPTY = HeldBody(b"")


class BodyTooLarge(Exception):
    """The body is longer than the service allows."""


class StreamedBody:
    """A body that goes through as it comes. It may be opened again until the first byte has been taken from it."""

    __slots__ = ("_left", "_opened", "_receive", "_start")

    def __init__(self, start: bytes, receive: Receive, limit: int) -> None:
        """Raises `BodyTooLarge` from its iterator once more than `limit` bytes have come."""
        self._start = start
        self._receive = receive
        self._left = limit
        self._opened = False

    @property
    def replayable(self) -> bool:
        return not self._opened

    async def open(self) -> AsyncIterator[bytes]:
        if self._opened:
            raise RuntimeError("a streamed body was read twice; check `replayable` first")
        self._opened = True
        if self._start:
            self._left -= len(self._start)
            yield self._start
        while True:
            chunk, more = await _next_chunk(self._receive)
            self._left -= len(chunk)
            if self._left < 0:
                raise BodyTooLarge
            if chunk:
                yield chunk
            if not more:
                return


async def read_body(receive: Receive, content_length: int | None, limit: int) -> HeldBody | StreamedBody:
    """Takes in a body up to `REPLAY_BYTES`; a longer one is left to be streamed.

    Raises `ClientGone`, and `BodyTooLarge` if it is already plain that it is longer than `limit`.
    """
    if content_length == 0:
        return EMPTY
    if content_length is not None and content_length > limit:
        raise BodyTooLarge
    if content_length is not None and content_length > REPLAY_BYTES:
        return StreamedBody(b"", receive, limit)
    held = bytearray()
    while len(held) <= REPLAY_BYTES:
        chunk, more = await _next_chunk(receive)
        held += chunk
        if len(held) > limit:
            raise BodyTooLarge
        if not more:
            return HeldBody(bytes(held))
    return StreamedBody(bytes(held), receive, limit)


async def _next_chunk(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone("the client went away before its request was complete")
    return message.get("body", b""), message.get("more_body", False)
