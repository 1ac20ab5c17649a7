"""Takes in what came from upstream: short answers whole, long ones and streams as they come.

An answer of known length up to `HELD_BYTES` is held until it is complete, so that a death in mid-body is still a
failed attempt that another region can mend. Longer ones and streams go through; they are cut off if they break.
"""

from collections.abc import AsyncIterator, Callable

from atoll_gateway.headers import DROPPED_FROM_RESPONSES, end_to_end
from atoll_gateway.message import Response
from atoll_gateway.upstream_connection import UpstreamResponse

HELD_BYTES = 64 * 1024
SWITCHING_PROTOCOLS = 101


async def take_answer(answer: UpstreamResponse, region: str | None, done: Callable[[], None]) -> Response:
    """Makes a `Response` of an upstream's answer.

    `done` is called once a streamed answer is complete or given up; for a held one `Response.close` is None and the
    caller is done when this returns.
    """
    headers = end_to_end(answer.headers, DROPPED_FROM_RESPONSES)
    length = answer.content_length
    if length is not None and length <= HELD_BYTES:
        return Response(answer.status, headers, await answer.read(), region)
    stream = _Stream(answer, done)
    tunnel = answer if answer.status == SWITCHING_PROTOCOLS else None
    return Response(answer.status, headers, stream.chunks(), region, stream.close, tunnel)


class _Stream:
    """A body on its way through; tells once when it is over."""

    __slots__ = ("_answer", "_done", "_over")

    def __init__(self, answer: UpstreamResponse, done: Callable[[], None]) -> None:
        self._answer = answer
        self._done = done
        self._over = False

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.stream():
                yield chunk
        finally:
            self.close()

    def close(self) -> None:
        if not self._over:
            self._over = True
            self._answer.close()
            self._done()
