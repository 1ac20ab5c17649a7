"""Atoll's server and pool without any layer: a process that passes requests on.

What it lacks against the whole gateway is what the layers and the edge cost.
"""

import asyncio
import sys

import uvloop

from atoll_gateway.headers import DROPPED_FROM_REQUESTS, DROPPED_FROM_RESPONSES, end_to_end, write_head
from atoll_gateway.http import HttpServer
from atoll_gateway.http.exchange import Receive, Scope, Send
from atoll_gateway.upstream import Upstream


class Forward:
    """The ASGI application."""

    def __init__(self, pool: Upstream) -> None:
        self._pool = pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = scope["query_string"]
        target = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
        method = scope["method"]
        head = write_head(method, target, end_to_end(scope["headers"], DROPPED_FROM_REQUESTS))
        answer = await self._pool.send(head, None, method=method)
        body = await answer.read()
        headers = end_to_end(answer.headers, DROPPED_FROM_RESPONSES)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def serve(port: int, upstream: int) -> None:
    """Passes requests without a body on until it is ended."""
    await HttpServer(Forward(Upstream("127.0.0.1", upstream))).start(port=port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(*map(int, sys.argv[1:])))
