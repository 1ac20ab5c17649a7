"""Bodies that take their time, through whole gateways: streams, large uploads, slow and vanishing clients."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.integration.gateways import World, until, world
from tests.integration.strict import LARGE, PLAIN, WAYS, Place, Strict, at, strict

from atoll_gateway import run
from atoll_gateway.http import Limits
from atoll_gateway.http.protocol import HttpProtocol
from atoll_gateway.upstream_connection import UpstreamConnection

pytestmark = pytest.mark.asyncio(loop_scope="module")

POST = b"POST /echo/x HTTP/1.1\r\nHost: a\r\n"
GET = b"GET /echo/x HTTP/1.1\r\nHost: a\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
FLOOD = 64 * 1024 * 1024


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("world"), topology=PLAIN) as made:
        yield made


@asynccontextmanager
async def large(folder: Path) -> AsyncIterator[World]:
    async with world(folder, topology=LARGE) as made:
        yield made


async def until_it_stands_still(count: Callable[[], int]) -> None:
    before = -1
    while before != count():
        before = count()
        await asyncio.sleep(0.3)


@pytest.fixture
def buffered(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Tells how many bytes of bodies all gateways together hold, in what they have read and could not write."""
    near: list[HttpProtocol] = []
    far: list[UpstreamConnection] = []
    monkeypatch.setattr(HttpProtocol, "connection_made", noting(HttpProtocol.connection_made, near))
    monkeypatch.setattr(
        UpstreamConnection, "connection_made", noting(UpstreamConnection.connection_made, far)
    )

    def count() -> int:
        size = sum(one._transport.get_write_buffer_size() for one in near)
        size += sum(one._transport.get_write_buffer_size() for one in far)
        size += sum(one._current.buffered for one in near if one._current is not None)
        return size + sum(one._response._buffered for one in far if one._response is not None)

    return count


def noting(known: Callable[..., None], made: list[Any]) -> Callable[..., None]:
    def connection_made(self: object, transport: asyncio.BaseTransport) -> None:
        made.append(self)
        known(self, transport)

    return connection_made


# --- streams ---


@pytest.mark.parametrize("way", WAYS)
async def test_an_event_is_there_before_the_next_one_is_made(shared: World, way: str) -> None:
    go_on = asyncio.Event()

    async def events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            await go_on.wait()
            go_on.clear()
            event = b"data: %d\n\n" % number
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        writer.write(b"0\r\n\r\n")
        await reader.read()

    async with at(shared, events):
        reader, writer = await Place(shared, Strict()).open(way)
        writer.write(GET + b"Accept: text/event-stream\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-type: text/event-stream" in head.lower()
        for number in range(5):
            go_on.set()
            async with asyncio.timeout(60):
                assert await reader.readexactly(14) == b"9\r\ndata: %d\n\n\r\n" % number
        assert await reader.readexactly(5) == b"0\r\n\r\n"
        writer.close()


@pytest.mark.parametrize("way", WAYS)
async def test_a_stream_of_unknown_end_is_passed_on_as_it_comes(shared: World, way: str) -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nfirst")
        await asyncio.sleep(0.1)
        writer.write(b"last")

    async with at(shared, old):
        answer = await Place(shared, Strict()).ask(way, GET + b"Connection: close\r\n\r\n")
        assert answer.endswith(b"\r\n\r\n5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n")


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_that_reads_slowly_stops_the_replica(
    tmp_path: Path, way: str, buffered: Callable[[], int]
) -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % FLOOD)
        while sent < FLOOD:
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()
        await reader.read()

    async with large(tmp_path) as made, at(made, flood):
        place = Place(made, Strict())
        reader, writer = await place.open(way)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(GET + b"\r\n")
        await until_it_stands_still(lambda: sent)
        assert 0 < sent < FLOOD
        held = buffered()
        print(f"{way}: gateways hold {held} bytes, kernel and replica the rest of {sent}")
        assert held < 2 * 1024 * 1024
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(FLOOD)
        writer.close()


# --- uploads ---


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_replica_that_reads_slowly_stops_the_client(
    tmp_path: Path, way: str, framing: str, buffered: Callable[[], int]
) -> None:
    read = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await read.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        size = 0
        while size < FLOOD:
            size += len(await reader.read(1 << 20))
        writer.write(OK + b"Content-Length: 2\r\n\r\nok")
        await writer.drain()

    async with large(tmp_path) as made, at(made, slow):
        reader, writer = await Place(made, Strict()).open(way)
        sent = 0

        async def upload() -> None:
            nonlocal sent
            if framing == "length":
                writer.write(POST + b"Content-Length: %d\r\n\r\n" % FLOOD)
            else:
                writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
            while sent < FLOOD:
                writer.write(b"x" * 65536 if framing == "length" else b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 65536
                await writer.drain()
            writer.write(b"0\r\n\r\n" if framing == "chunked" else b"")

        uploading = asyncio.ensure_future(upload())
        await until_it_stands_still(lambda: sent)
        assert 0 < sent < FLOOD
        held = buffered()
        print(f"{way}, {framing}: gateways hold {held} bytes, kernel and client the rest of {sent}")
        assert held < 2 * 1024 * 1024
        read.set()
        await uploading
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(OK)
        writer.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("when", ["in the upload", "while it waits", "in the stream"])
async def test_a_client_that_leaves_is_noticed_at_the_replica(
    shared: World, way: str, how: str, when: str
) -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        try:
            if when == "in the stream":
                writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
            while await reader.read(65536):
                pass
        finally:
            gone.set()

    async with at(shared, watch):
        reader, writer = await Place(shared, Strict()).open(way)
        writer.write(
            POST + b"Content-Length: 400000\r\n\r\n" + b"x" * 300_000
            if when == "in the upload"
            else GET + b"\r\n"
        )
        await begun.wait()
        if when == "in the stream":
            await reader.readuntil(b"1\r\nx\r\n")
        assert not gone.is_set()
        if how == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        async with asyncio.timeout(60):
            await gone.wait()
        await until(lambda: shared.cells["eu-west"].gateway.replicas.in_flight("echo") == 0)
        assert shared.cells["eu-west"].gateway.metrics.service("echo").statistics().in_flight == 0


@pytest.mark.parametrize("way", WAYS)
async def test_a_body_too_large_is_refused_without_being_read(shared: World, way: str) -> None:
    """Before the first byte where the length is told, and at the byte that is too much where it is not."""
    place = Place(shared, Strict())
    async with at(shared, place.replica):
        for framing, body in (
            (b"Content-Length: 400000000\r\n\r\n", b""),
            (b"Content-Length: 400000000\r\nExpect: 100-continue\r\n\r\n", b""),
            (b"Transfer-Encoding: chunked\r\n\r\n", b"64001\r\n" + b"x" * 0x64001),
        ):
            answer = await place.ask(way, POST + framing + body)
            head, _, content = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 413 "), answer
            assert json.loads(content)["type"] == "urn:atoll:problem:body-too-large"
        assert place.replica.seen == []
        await place.is_sound(way)


@pytest.mark.parametrize("way", WAYS)
async def test_the_client_is_asked_for_its_body_only_when_it_is_wanted(shared: World, way: str) -> None:
    expect = b"Expect: 100-continue\r\n"
    place = Place(shared, Strict())
    async with at(shared, place.replica):
        reader, writer = await place.open(way)
        writer.write(POST + expect + b"Content-Length: 3\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(OK)
        writer.close()
        assert place.replica.seen[0].body == b"abc" and place.replica.seen[0].field(b"expect") is None
        for unwanted in (b"POST /nowhere HTTP/1.1\r\nHost: a\r\n", POST + b"Atoll-Timeout: soon\r\n"):
            answer = await place.ask(way, unwanted + expect + b"Content-Length: 3\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 40"), "no 100 for a body that nobody reads"


# --- slow clients ---


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways that wait for nobody; the sweep that watches the times is every half second."""
    limits = Limits(
        body_bytes=None,
        header_timeout_s=0.3,
        body_timeout_s=0.3,
        keep_alive_s=0.3,
        write_timeout_s=0.3,
        tunnel_idle_s=0.3,
    )
    monkeypatch.setattr(run, "PUBLIC_LIMITS", limits)


async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        for byte in data:
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0.1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("way", WAYS)
async def test_slow_senders_are_cut_by_time(tmp_path: Path, way: str) -> None:
    async with strict(tmp_path) as place:

        async def slow(start: bytes, rest: bytes) -> bytes:
            reader, writer = await place.open(way)
            writer.write(start)
            dripping = asyncio.ensure_future(drip(writer, rest))
            try:
                async with asyncio.timeout(6):
                    return await reader.read()
            finally:
                dripping.cancel()
                writer.close()

        head, silent_head, body, dripped, idle = await asyncio.gather(
            slow(b"GET /echo", b"/" + b"x" * 1000),
            slow(b"GET /echo", b""),
            slow(POST + b"Content-Length: 3\r\n\r\na", b""),
            slow(POST + b"Content-Length: 1000\r\n\r\na", b"x" * 999),  # never silent for long, never done
            slow(b"", b""),
        )
        assert head.startswith(b"HTTP/1.1 408 ") and b"header-timeout" in head
        assert silent_head.startswith(b"HTTP/1.1 408 ") and b"header-timeout" in silent_head
        assert body.startswith(b"HTTP/1.1 408 ") and b"body-timeout" in body
        assert dripped.startswith(b"HTTP/1.1 408 ") and b"deadline" in dripped
        assert idle.startswith(b"HTTP/1.1 408 ") or idle == b""
        assert place.replica.seen == []
        await place.is_sound(way)


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_takes_nothing_is_cut_by_time(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % FLOOD)
        try:
            for _ in range(FLOOD // 65536):
                writer.write(b"x" * 65536)
                await writer.drain()
        finally:
            gone.set()

    async with large(tmp_path) as made, at(made, flood):
        reader, writer = await Place(made, Strict()).open("own")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(GET + b"\r\n")
        async with asyncio.timeout(6):
            await gone.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError):
            assert len(await reader.read()) < FLOOD
        writer.close()


@pytest.mark.usefixtures("impatient")
async def test_a_silent_tunnel_is_ended_by_time_and_a_lively_one_is_not(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await reader.read()

    async with large(tmp_path) as made, at(made, silent):
        reader, writer = await Place(made, Strict()).open("own")
        writer.write(GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(10):
            writer.write(b"x")
            await asyncio.sleep(0.1)
        assert made.cells["eu-west"].gateway.replicas.in_flight("echo") == 1
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
        await until(lambda: made.cells["eu-west"].gateway.replicas.in_flight("echo") == 0)
