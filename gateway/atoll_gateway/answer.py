"""Takes in what came from upstream: short answers whole, long ones and streams as they come.

An answer of known length up to `HELD_BYTES` is held until it is complete, so that a death in mid-body is still a
failed attempt that another region can mend. Longer ones and streams go through; they are cut off if they break. Those
by which Serve may say that it did nothing are held if they are short: Serve doesn't give their length.
"""

from collections.abc import AsyncIterator, Callable

from atoll_gateway.headers import DROPPED_FROM_RESPONSES, end_to_end
from atoll_gateway.message import Response
from atoll_gateway.upstream_connection import UpstreamResponse

HELD_BYTES = 64 * 1024
SWITCHING_PROTOCOLS = 101
REFUSALS = frozenset({404, 503})
"""Statuses of answers whose text `atoll_gateway.serve_refusal` looks at."""


async def take_answer(answer: UpstreamResponse, region: str | None, done: Callable[[], None]) -> Response:
    """Makes a `Response` of an upstream's answer.

    `done` is called once a streamed answer is complete or given up; for a held one `Response.close` is None and the
    caller is done when this returns.
    """
    headers = end_to_end(answer.headers, DROPPED_FROM_RESPONSES)
    length = answer.content_length
    if length is not None and length <= HELD_BYTES:
        return Response(answer.status, headers, await answer.read(), region)
    chunks = answer.stream()
    start: list[bytes] = []
    if length is None and answer.status in REFUSALS:
        start, complete = await _take_start(chunks)
        if complete:
            body = b"".join(start)
            return Response(answer.status, [*headers, (b"content-length", b"%d" % len(body))], body, region)
    stream = _Stream(answer, start, chunks, done)
    tunnel = answer if answer.status == SWITCHING_PROTOCOLS else None
    return Response(answer.status, headers, stream.chunks(), region, stream.close, tunnel)


async def _take_start(chunks: AsyncIterator[bytes]) -> tuple[list[bytes], bool]:
    """The beginning of a body, and whether that is all of it: what is longer than `HELD_BYTES` is not waited for."""
    start: list[bytes] = []
    size = 0
    async for chunk in chunks:
        start.append(chunk)
        size += len(chunk)
        if size > HELD_BYTES:
            return start, False
    return start, True


class _Stream:
    """A body on its way through; tells once when it is over."""

    __slots__ = ("_answer", "_done", "_over", "_rest", "_start")

    def __init__(
        self,
        answer: UpstreamResponse,
        start: list[bytes],
        rest: AsyncIterator[bytes],
        done: Callable[[], None],
    ) -> None:
        self._answer = answer
        self._start = start
        self._rest = rest
        self._done = done
        self._over = False

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self._start:
                yield chunk
            async for chunk in self._rest:
                yield chunk
        finally:
            self.close()

    def close(self) -> None:
        if not self._over:
            self._over = True
            self._answer.close()
            self._done()
