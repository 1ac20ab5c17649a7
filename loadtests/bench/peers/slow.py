"""An upstream that takes as long as it is told to: ``POST /-/delay/MILLISECONDS`` sets it."""

import asyncio
import sys

import uvloop

from atoll_gateway.http import HttpServer
from atoll_gateway.http.exchange import Receive, Scope, Send
from loadtests.bench.workbench import Running, Workbench, free_port


class Slow:
    """The ASGI application."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/-/delay/"):
            self._delay_s = float(scope["path"].rpartition("/")[2]) / 1000.0
        elif not scope["path"].startswith("/-/"):
            await asyncio.sleep(self._delay_s)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def start(bench: Workbench, name: str, delay_ms: float) -> Running:
    """An upstream that takes `delay_ms` at first."""
    port = free_port()
    return bench.python(name, port, __name__, str(port), str(delay_ms))


async def serve(port: int, delay_ms: float) -> None:
    """Answers until it is ended."""
    await HttpServer(Slow(delay_ms / 1000.0)).start(port=port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2])))
