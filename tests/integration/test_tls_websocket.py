"""WebSocket over the link with TLS, which knows no half-closed connections."""

import asyncio
import contextlib
from pathlib import Path

import pytest
import websockets
from tests.integration.gateways import until
from tests.integration.secured import Pair, files_of, on_both_loops, pair
from tests.tls_files import Signer
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from atoll.topology.wiring import Address

HANDSHAKE = (
    b"GET /shop/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def place(both: Pair, port: int) -> None:
    """The service is there from now on."""
    both.far.replicas.use_origins({"shop": (Address("127.0.0.1", port),)})


@on_both_loops
async def test_messages_and_both_ways_of_ending(tmp_path: Path) -> None:
    seen: list[ServerConnection] = []

    async def echo(connection: ServerConnection) -> None:
        seen.append(connection)
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in connection:
                if message == "leave":
                    await connection.close(4000, "as you wish")
                await connection.send(message)

    async with pair(tmp_path, files_of(tmp_path, Signer.new())) as both:
        await until(both.healthy)
        async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
            place(both, next(iter(server.sockets)).getsockname()[1])
            url = f"{both.near.wiring.public.url}/shop/ws".replace("http", "ws", 1)
            big = bytes(range(256)) * 8000
            async with connect(url, max_size=None, proxy=None) as client:
                for message in ("hello", big, "again"):
                    await client.send(message)
                    assert await client.recv() == message
            await until(lambda: seen[0].close_code == 1000)
            async with connect(url, proxy=None) as client:
                await client.send("leave")
                with pytest.raises(websockets.ConnectionClosed) as ended:
                    await client.recv()
                assert ended.value.rcvd is not None and ended.value.rcvd.code == 4000


@on_both_loops
async def test_what_was_sent_before_the_end_arrives_and_the_end_of_one_is_the_end_of_both(
    tmp_path: Path,
) -> None:
    got = asyncio.Event()
    said = bytearray()

    async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        said.extend(await reader.read(-1))
        writer.write(b"nobody waits for this")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()
        got.set()

    async with pair(tmp_path, files_of(tmp_path, Signer.new())) as both:
        await until(both.healthy)
        async with await asyncio.start_server(far, "127.0.0.1", 0) as server:
            place(both, server.sockets[0].getsockname()[1])
            public = both.near.wiring.public
            reader, writer = await asyncio.open_connection(public.host, public.port)
            writer.write(HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(bytes(500_000))
            writer.write_eof()
            async with asyncio.timeout(60.0):
                await got.wait()
                with contextlib.suppress(ConnectionError):
                    await reader.read()
            assert len(said) == 500_000
            writer.close()
