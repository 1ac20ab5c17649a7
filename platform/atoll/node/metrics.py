"""What Prometheus asks of a role that has no listener of its own: ``GET /-/metrics``, for who has the admin token."""

import asyncio
import base64
import contextlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from prometheus_client import CONTENT_TYPE_LATEST

from atoll.topology.wiring import Address

HEAD_BYTES = 8 * 1024
TIMEOUT_S = 10.0
"""For a question and its answer together; Prometheus waits no longer."""


@asynccontextmanager
async def serving(address: Address, token: str, tell: Callable[[], Awaitable[bytes]]) -> AsyncIterator[None]:
    """Answers while the block runs, one question a connection. Raises `OSError` if the address can't be had."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            async with asyncio.timeout(TIMEOUT_S):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                status, body = await _answer(head, token, tell)
                writer.write(_response(status, body))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(converse, address.host, address.port, limit=HEAD_BYTES)
    async with server:
        yield


async def _answer(head: str, token: str, tell: Callable[[], Awaitable[bytes]]) -> tuple[str, bytes]:
    request, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if not request.startswith("GET /-/metrics "):
        return "404 Not Found", b"ask GET /-/metrics\n"
    if not _admits(headers.get("authorization", ""), token):
        return "401 Unauthorized", b"show the admin token\n"
    return "200 OK", await tell()


def _admits(authorization: str, token: str) -> bool:
    """As gateways' admin listeners: a bearer token, or the password of Basic."""
    scheme, _, shown = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            shown = base64.b64decode(shown, validate=True).decode("latin-1").partition(":")[2]
        except ValueError:  # neither base64 nor ASCII
            return False
    return hmac.compare_digest(shown.strip().encode("latin-1"), token.encode())


def _response(status: str, body: bytes) -> bytes:
    challenge = "www-authenticate: Basic\r\n" if status.startswith("401") else ""
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: {CONTENT_TYPE_LATEST}\r\ncontent-length: {len(body)}\r\n"
        f"{challenge}connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
