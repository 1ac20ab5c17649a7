"""WebSocket through the gateways: own region, a peer's, the entry; ends of either side, back pressure, failover."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
import websockets
from tests.integration.gateways import IRELAND, World, until, world
from tests.integration.patient import PATIENT, patience
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve

from atoll.topology.wiring import Address

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEVER_ASKED = PATIENT + '[outlier]\nstall = "60s"\n'
"""No replica is asked whether it is alive: what a test puts in its place knows tunnels alone."""

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

CHAT = websockets.Subprotocol("chat")
HANDSHAKE = (
    b"GET /echo/ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
GRANTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-From: far\r\n"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    with patience():
        async with world(tmp_path_factory.mktemp("world"), topology=NEVER_ASKED) as made:
            yield made


@pytest.fixture
def three(shared: World) -> World:
    """A world whose replicas are those of the harness; for tests that leave it as it is."""
    for region, cell in shared.cells.items():
        place(shared, region, cell.replicas[0].port)
        cell.replicas[0].seen.clear()
    return shared


@pytest_asyncio.fixture(loop_scope="module")
async def own(tmp_path: Path) -> AsyncIterator[World]:
    """A world that a test may break."""
    with patience():
        async with world(tmp_path, topology=NEVER_ASKED) as made:
            yield made


@asynccontextmanager
async def chat(made: World, region: str, greets: str = "") -> AsyncIterator[list[ServerConnection]]:
    """A real WebSocket server as the region's replica; gives its connections."""
    seen: list[ServerConnection] = []

    async def echo(connection: ServerConnection) -> None:
        seen.append(connection)
        if greets:
            await connection.send(greets)
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in connection:
                await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, subprotocols=[CHAT], max_size=None) as server:
        place(made, region, port_of(server))
        yield seen


@asynccontextmanager
async def raw(made: World, region: str, handler: Handler) -> AsyncIterator[None]:
    """A replica that does on its socket whatever the test wants."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    place(made, region, server.sockets[0].getsockname()[1])
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def port_of(server: Server) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])


def place(made: World, region: str, port: int) -> None:
    made.cells[region].gateway.replicas.update({"echo": (Address("127.0.0.1", port),)})


def talk(url: str, address: str = IRELAND) -> connect:
    return connect(
        url.replace("http:", "ws:") + "/echo/ws?room=1",
        additional_headers={"X-Forwarded-For": address},
        proxy=None,
        max_size=None,
        subprotocols=[CHAT],
    )


async def dial(
    made: World, region: str | None, data: bytes
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    wiring = made.entry.wiring if region is None else made.cells[region].wiring
    reader, writer = await asyncio.open_connection(wiring.public.host, wiring.public.port)
    writer.write(data)
    return reader, writer


def in_flight(made: World, region: str) -> int:
    return made.cells[region].gateway.replicas.in_flight("echo")


WAYS = {"own": "eu-west", "entry": None, "peer": "us-east"}


@asynccontextmanager
async def through(made: World, way: str) -> AsyncIterator[str]:
    """The gateway to talk to so that the request reaches eu-west straight, by the entry, or by a peer."""
    if way == "peer":  # us-east has no replica of its own, so it passes the request on
        made.cells["us-east"].gateway.replicas.update({})
    yield made.url(WAYS[way])


@pytest.mark.parametrize("way", WAYS)
async def test_messages_go_both_ways(three: World, way: str) -> None:
    async with chat(three, "eu-west", greets="hello") as seen, through(three, way) as url:
        async with talk(url) as one:
            assert one.subprotocol == "chat"
            response = one.response
            assert response is not None
            assert response.headers["Atoll-Region"] == "eu-west"
            assert response.headers["Atoll-Attempts"] == "1"
            assert await one.recv() == "hello"
            for message in ("text", b"bytes", "x" * 300_000):
                await one.send(message)
                assert await one.recv() == message
            request = seen[0].request
            assert request is not None
            assert request.path == "/echo/ws?room=1"
            assert request.headers["X-Forwarded-For"] == IRELAND if way == "entry" else True
            assert in_flight(three, "eu-west") == 1
            await one.close(4000, "enough")
        assert (one.close_code, one.close_reason) == (4000, "enough")
        await seen[0].wait_closed()
        assert seen[0].close_code == 4000
        await until(lambda: in_flight(three, "eu-west") == 0)
        await until(lambda: all(peer.in_flight == 0 for peer in three.entry.peers.of("eu-west")))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["end", "reset"])
async def test_a_client_that_leaves_is_noticed_at_the_replica(three: World, way: str, how: str) -> None:
    async with chat(three, "eu-west") as seen, through(three, way) as url:
        async with talk(url) as one:
            await one.send("x")
            await one.recv()
            if how == "reset":
                sock = one.transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.transport.abort()
            async with asyncio.timeout(60):
                await seen[0].wait_closed()
        assert seen[0].close_code == 1006
        await until(lambda: in_flight(three, "eu-west") == 0)


@pytest.mark.parametrize("way", WAYS)
async def test_a_replica_that_dies_ends_the_client_after_what_came_before(three: World, way: str) -> None:
    parting = bytes(range(256)) * 2000

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(GRANTED + b"\r\n")
        await reader.readexactly(2)
        writer.write(parting)
        await writer.drain()

    async with raw(three, "eu-west", die), through(three, way):
        reader, writer = await dial(three, WAYS[way], HANDSHAKE + b"X-Forwarded-For: 87.32.10.20\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"go")
        assert await reader.read() == parting
        assert b"x-from: far" in head.lower()
        assert b"content-length" not in head.lower() and b"transfer-encoding" not in head.lower()
        writer.close()
        await until(lambda: in_flight(three, "eu-west") == 0)


@pytest.mark.parametrize("way", WAYS)
async def test_what_comes_right_behind_the_handshake_is_not_lost(three: World, way: str) -> None:
    """In the packet of the request, and in the packet of the answer; and only once the answer is 101."""
    early, answer = b"\x81early" * 20_000, b"\x82first" * 20_000
    grant = asyncio.Event()

    async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            async with asyncio.timeout(0.1):
                assert await reader.read(1) == b"?", "nothing may come before the upgrade is granted"
        except TimeoutError:
            grant.set()
        writer.write(GRANTED + b"\r\n" + answer)
        writer.write(await reader.readexactly(len(early)))
        await writer.drain()

    async with raw(three, "eu-west", mirror), through(three, way):
        reader, writer = await dial(
            three, WAYS[way], HANDSHAKE + b"X-Forwarded-For: 87.32.10.20\r\n\r\n" + early
        )
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == answer + early
        assert grant.is_set()
        writer.close()


@pytest.mark.parametrize("way", WAYS)
async def test_each_direction_ends_on_its_own(three: World, way: str) -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(GRANTED + b"\r\n")
        content = await reader.read()
        writer.write(b"got %d" % len(content))
        await writer.drain()

    async with raw(three, "eu-west", answer_at_the_end), through(three, way):
        reader, writer = await dial(three, WAYS[way], HANDSHAKE + b"X-Forwarded-For: 87.32.10.20\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"x" * 500_000)
        writer.write_eof()
        assert await reader.read() == b"got 500000"
        writer.close()


@pytest.mark.parametrize("way", WAYS)
async def test_another_answer_than_101_goes_to_the_client(three: World, way: str) -> None:
    """And what the client sent behind its request is nobody's then."""
    smuggled = b"GET /echo/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    heads: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(
                b"HTTP/1.1 403 Forbidden\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 12\r\nContent-Length: 2\r\n\r\nno"
            )

    async with raw(three, "eu-west", refuse), through(three, way):
        reader, writer = await dial(
            three, WAYS[way], HANDSHAKE + b"X-Forwarded-For: 87.32.10.20\r\n\r\n" + smuggled
        )
        answer = await reader.read()
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 ") and body == b"no"
    assert b"sec-websocket-version: 12" in head and b"upgrade" not in head
    assert len(heads) == 1
    sent = heads[0].lower()
    assert b"\r\nconnection: upgrade\r\n" in sent and b"\r\nupgrade: websocket\r\n" in sent
    assert b"\r\nsec-websocket-key: dghl" in sent and b"keep-alive" not in sent


async def test_a_replica_that_knows_no_websocket_answers_as_it_does(three: World) -> None:
    reader, writer = await dial(three, "eu-west", HANDSHAKE + b"\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"eu-west")
    (_, _, headers, _) = three.seen("eu-west")[0]
    assert headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize(
    "asks",
    [
        b"POST /echo/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
        b"GET /echo/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"GET /echo/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
        b"GET /echo/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n",
        b"GET /echo/x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        b"GET /echo/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
    ],
)
async def test_any_other_upgrade_is_ignored(three: World, asks: bytes) -> None:
    reader, writer = await dial(
        three, "eu-west", asks + b"GET /echo/y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    answer = await reader.read()
    writer.close()
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert [path for _, path, _, _ in three.seen("eu-west")] == ["/echo/x", "/echo/y"]
    assert all("upgrade" not in headers for _, _, headers, _ in three.seen("eu-west"))


async def test_a_handshake_goes_to_another_region_if_nothing_was_sent(own: World) -> None:
    async with chat(own, "us-east") as seen:
        await own.cells["eu-west"].kill()
        async with talk(own.url()) as one:
            await one.send("x")
            assert await one.recv() == "x"
            response = one.response
            assert response is not None
            assert response.headers["Atoll-Region"] == "us-east"
    assert len(seen) == 1


async def test_a_handshake_that_a_region_refuses_goes_to_another(own: World) -> None:
    """The region's gateway lives and its replica does not; its peers have not heard that yet."""
    await own.cells["eu-west"].replicas[0].stop()
    async with chat(own, "us-east"), talk(own.url()) as one:
        response = one.response
        assert response is not None
        assert response.headers["Atoll-Region"] == "us-east"


async def test_a_handshake_that_may_have_arrived_is_not_sent_twice(three: World) -> None:
    tried: list[str] = []

    def dies(region: str) -> Handler:
        async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            tried.append(region)

        return die

    async with raw(three, "eu-west", dies("eu-west")), raw(three, "us-east", dies("us-east")):
        reader, writer = await dial(three, "eu-west", HANDSHAKE + b"\r\n")
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert tried == ["eu-west"]


async def test_the_deadline_is_the_handshakes_alone(three: World) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/never " in head:
            await asyncio.sleep(60)
        writer.write(GRANTED + b"\r\n")
        await asyncio.sleep(3.5)
        writer.write(b"late")

    async with raw(three, "eu-west", slow):
        reader, writer = await dial(three, "eu-west", HANDSHAKE + b"Atoll-Timeout: 3s\r\n\r\n")
        assert (await reader.read()).endswith(b"late")
        writer.close()
        timeout = b"Atoll-Timeout: 200ms\r\n\r\n"
        reader, writer = await dial(three, "eu-west", HANDSHAKE.replace(b"/ws ", b"/never ") + timeout)
        assert (await reader.read()).startswith(b"HTTP/1.1 504 ")
        writer.close()


@pytest.mark.parametrize("way", WAYS)
async def test_a_slow_reader_stops_the_writer(three: World, way: str) -> None:
    """Nobody on the way keeps more than a few buffers: what the far side can send without being read is bounded."""
    sent = 0
    limit = 64 * 1024 * 1024

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(GRANTED + b"\r\n")
        while sent < limit:
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()

    async with raw(three, "eu-west", flood), through(three, way):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        wiring = three.entry.wiring if WAYS[way] is None else three.cells[WAYS[way] or ""].wiring
        client.connect((wiring.public.host, wiring.public.port))
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, HANDSHAKE + b"X-Forwarded-For: 87.32.10.20\r\n\r\n")
        await until(lambda: sent > 0)
        looks = 0
        while looks < 50:  # at each, this loop has moved on what there was to move, however slow it is
            before = sent
            await asyncio.sleep(0.01)
            looks = looks + 1 if sent == before else 0
        assert sent < limit / 2, "the writer stands still although nobody has read"
        got = 0
        while got < limit:
            data = await loop.sock_recv(client, 1 << 20)
            assert data, f"ended after {got} of {limit} bytes"
            got += len(data)
        client.close()
    assert sent == limit


async def test_a_silent_tunnel_is_ended_and_a_lively_one_is_not(
    three: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atoll_gateway import tunnel

    monkeypatch.setattr(tunnel, "HALF_CLOSED_S", 0.2)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(GRANTED + b"\r\n")
        await asyncio.sleep(60)

    async with raw(three, "eu-west", silent):
        reader, writer = await dial(three, "eu-west", HANDSHAKE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(5):
            writer.write(b"x")
            await asyncio.sleep(0.1)
        assert in_flight(three, "eu-west") == 1
        writer.write_eof()  # the replica does not care, so the rest is waited for only so long
        assert await reader.read() == b""
        writer.close()
        await until(lambda: in_flight(three, "eu-west") == 0)


async def test_a_gateway_that_ends_closes_its_tunnels(own: World) -> None:
    async with chat(own, "eu-west") as seen, talk(own.url()) as one:
        await one.send("x")
        await one.recv()
        await own.cells["eu-west"].stack.aclose()
        with pytest.raises(websockets.ConnectionClosed):
            await one.recv()
        await seen[0].wait_closed()


async def test_a_tunnel_leaves_the_pool_and_other_requests_have_it_for_themselves(three: World) -> None:
    async with chat(three, "eu-west") as seen, contextlib.AsyncExitStack() as stack:
        (peer,) = three.entry.peers.of("eu-west")
        await until(lambda: peer.in_flight == 0)
        several: list[ClientConnection] = []
        for _ in range(5):
            several.append(await stack.enter_async_context(talk(three.url())))
            await several[-1].send(str(len(several)))
        for number, one in enumerate(several, 1):
            assert await one.recv() == str(number)
        assert peer.in_flight == 5
        assert peer.upstream.statistics().open == 0
        assert len(seen) == 5
    await until(lambda: peer.in_flight == 0)


async def test_the_access_log_tells_of_a_tunnel_once_it_is_over(three: World) -> None:
    def logged() -> bool:
        three.entry.access_log.flush()
        lines = [line for line in three.log.getvalue().splitlines() if f'"{request_id}"' in line]
        return any('"status":101' in line for line in lines)

    async with chat(three, "eu-west"), talk(three.url()) as one:
        assert one.response is not None
        request_id = one.response.headers["X-Request-Id"]
        await one.send("x")
        await one.recv()
        assert not logged()
    await until(logged)
