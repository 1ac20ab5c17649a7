"""Whole answers, for the few places that need no framework."""

from atoll_gateway.http.exchange import Exchange, Send
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
    await send_answer(send, status, fields, body)


async def send_answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Answers with headers whose names are in lower case and with a whole body.

    On a connection of our own server that is one call and one write, not two ASGI messages.
    """
    if isinstance(send, Exchange):
        send.respond(status, headers, body)
        return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
