"""A connection that has reached its age ends with a response that says so, and never between two requests."""

import asyncio

from atoll.clock import ManualClock
from atoll_gateway.http.exchange import Receive, Scope, Send
from atoll_gateway.http.limits import Limits
from atoll_gateway.http.server import HttpServer

REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def test_the_first_request_after_its_age_is_the_last() -> None:
    clock = ManualClock()
    server = HttpServer(
        answer, limits=Limits(max_age_s=100.0, keep_alive_s=1000.0), clock=clock, sweep_s=3600.0
    )
    await server.start()
    reader, writer = await asyncio.open_connection(*server.address)

    async def ask() -> bytes:
        writer.write(REQUEST)
        return await reader.readuntil(b"\r\n\r\nok")

    assert b"connection: close" not in (await ask()).lower()
    clock.advance(99.0)
    server.sweep()
    assert b"connection: close" not in (await ask()).lower()
    clock.advance(1.0)
    server.sweep()
    assert not reader.at_eof(), "a request may be on its way"
    assert b"connection: close" in (await ask()).lower()
    assert await reader.read() == b""
    writer.close()
    await server.close()
