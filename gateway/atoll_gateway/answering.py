"""Whole answers over ASGI, for the few places that need no framework."""

from atoll_gateway.http.exchange import Send
from atoll_gateway.http.problem import CONTENT_TYPE, Problem
from atoll_gateway.message import Headers


async def send_problem(
    send: Send, problem: Problem, headers: Headers | None = None, request_id: str = ""
) -> None:
    """Answers with a problem document."""
    await send_whole(send, problem.status, CONTENT_TYPE, problem.body(request_id), headers)


async def send_whole(
    send: Send, status: int, content_type: bytes, body: bytes, headers: Headers | None = None
) -> None:
    """Answers with a body that is wholly known."""
    fields = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *(headers or ())]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
