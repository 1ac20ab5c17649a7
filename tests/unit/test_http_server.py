"""The server edge over real sockets: what it reads, refuses, answers, and how it ends."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from atoll.clock import ManualClock
from atoll_gateway.http import (
    EXTENSION,
    UPGRADE,
    Application,
    ClientGone,
    Connection,
    CutResponse,
    HttpServer,
    Limits,
    Receive,
    Scope,
    Send,
    Upgrade,
)

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")


@pytest.fixture(params=["uvloop", "asyncio"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


@asynccontextmanager
async def serving(
    application: Application, limits: Limits | None = None, clock: ManualClock | None = None
) -> AsyncIterator[HttpServer]:
    server = HttpServer(application, limits=limits, clock=clock)
    await server.start()
    try:
        yield server
    finally:
        await server.close()
        assert server.statistics().in_flight == 0
        assert server.statistics().connections == 0


class Client:
    """A raw socket; what it sends is what the test wrote."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), fields

    async def response(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        status, fields = await self.head()
        body = b""
        if head_only:
            pass
        elif fields.get("transfer-encoding") == "chunked":
            while size := int((await self.reader.readuntil(b"\r\n"))[:-2], 16):
                body += await self.reader.readexactly(size)
                assert await self.reader.readexactly(2) == b"\r\n"
            assert await self.reader.readexactly(2) == b"\r\n"
        elif "content-length" in fields:
            body = await self.reader.readexactly(int(fields["content-length"]))
        elif status != 204:
            body = await self.reader.read()
        return status, fields, body

    async def ended(self) -> bytes:
        """Whatever comes until the server closes."""
        return await self.reader.read()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def client(server: HttpServer) -> AsyncIterator[Client]:
    connected = Client(*await asyncio.open_connection(*server.address))
    try:
        yield connected
    finally:
        connected.close()


async def whole_body(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        body += message["body"]
        if not message["more_body"]:
            return body


async def reply(send: Send, body: bytes, status: int = 200, *fields: tuple[bytes, bytes]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *fields]})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it saw of the request."""
    body = await whole_body(receive)
    seen = {
        "method": scope["method"],
        "path": scope["path"],
        "raw_path": scope["raw_path"].decode(),
        "query": scope["query_string"].decode(),
        "version": scope["http_version"],
        "headers": [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": body.decode("latin-1"),
    }
    await reply(send, json.dumps(seen).encode())


async def ask(server: HttpServer, data: bytes) -> tuple[int, dict[str, str], bytes]:
    async with client(server) as one:
        await one.send(data)
        return await one.response()


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


# --- requests that are served ---


async def test_a_request_reaches_the_application_as_asgi_says() -> None:
    async with serving(echo) as server:
        status, _, body = await ask(
            server, b"GET /a%20b/c?x=%31&y HTTP/1.1\r\nHost: a:80\r\nX-Two: 1 \r\nx-two:\t2\r\n\r\n"
        )
        assert status == 200
        assert json.loads(body) == {
            "method": "GET",
            "path": "/a b/c",
            "raw_path": "/a%20b/c",
            "query": "x=%31&y",
            "version": "1.1",
            "headers": [["host", "a:80"], ["x-two", "1"], ["x-two", "2"]],
            "body": "",
        }


async def test_no_server_header_and_no_other_field_is_added() -> None:
    async with serving(echo) as server:
        _, fields, _ = await ask(server, GET)
        assert set(fields) == {"content-length"}


async def test_a_connection_is_kept_and_carries_what_is_known_of_it() -> None:
    seen: list[Connection] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        connection = scope["extensions"][EXTENSION]
        seen.append(connection)
        trusted, connection.trusted = connection.trusted, True
        await reply(send, b"known" if trusted else b"new")

    async with serving(application) as server:
        async with client(server) as one:
            for expected in (b"new", b"known", b"known"):
                await one.send(GET)
                assert (await one.response())[2] == expected
        async with client(server) as two:
            await two.send(GET)
            assert (await two.response())[2] == b"new"
    assert seen[0] is seen[2]
    assert seen[0] is not seen[3]
    assert seen[0].peer is not None
    assert seen[0].peer[0] == "127.0.0.1"


async def test_pipelined_requests_are_answered_in_order_one_at_a_time() -> None:
    running = 0

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal running
        running += 1
        assert running == 1
        body = await whole_body(receive)
        await asyncio.sleep(0)
        running -= 1
        await reply(send, scope["raw_path"] + body)

    async with serving(application) as server, client(server) as one:
        await one.send(
            b"".join(
                b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n%d" % (n, n % 10)
                for n in range(50)
            )
        )
        for n in range(50):
            assert (await one.response())[2] == b"/%d%d" % (n, n % 10)


async def test_a_bad_pipelined_request_is_refused_after_the_good_ones() -> None:
    release = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await reply(send, b"good")

    async with serving(application) as server, client(server) as one:
        await one.send(GET + GET + b"GET / HTTP/1.1\r\n\r\n" + GET)
        release.set()
        assert (await one.response())[2] == b"good"
        assert (await one.response())[2] == b"good"
        assert (await one.response())[0] == 400
        assert await one.ended() == b""
        assert server.statistics().requests == 2


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_arrive_whole(size: int, chunked: bool) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"%d" % len(await whole_body(receive)))

    body = b"x" * size
    if chunked:
        head = b"Transfer-Encoding: Chunked\r\n\r\n"
        pieces = [body[at : at + 70_001] for at in range(0, size, 70_001)]
        body = b"".join(b"%X;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        body += b"0\r\nTrailer: dropped\r\n\r\n"
    else:
        head = b"Content-Length: %d\r\n\r\n" % size
    async with serving(application) as server:
        _, _, answer = await ask(server, b"POST / HTTP/1.1\r\nHost: a\r\n" + head + body)
        assert answer == b"%d" % size


async def test_a_request_that_comes_byte_by_byte_is_read() -> None:
    async with serving(echo) as server, client(server) as one:
        data = b"\r\nPOST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
        for at in range(len(data)):
            await one.send(data[at : at + 1])
            await asyncio.sleep(0)
        assert json.loads((await one.response())[2])["body"] == "ab"


async def test_expect_continue_is_answered_when_the_application_reads() -> None:
    read = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await read.wait()
        await reply(send, await whole_body(receive))

    async with serving(application) as server, client(server) as one:
        await one.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
        read.set()
        assert await one.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await one.send(b"hi")
        assert (await one.response())[2] == b"hi"


async def test_an_expectation_that_is_not_read_gets_the_final_answer_alone() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"no", 403)

    async with serving(application) as server, client(server) as one:
        await one.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        status, fields, _ = await one.response()
        assert (status, fields["connection"]) == (403, "close")
        assert await one.ended() == b""


async def test_head_gets_the_length_and_no_body() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"twelve bytes")

    async with serving(application) as server, client(server) as one:
        await one.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        _, fields, _ = await one.response(head_only=True)
        assert fields["content-length"] == "12"
        assert (await one.response())[2] == b"twelve bytes"


async def test_a_response_without_a_length_is_chunked_and_streamed() -> None:
    go_on = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b"last"})

    async with serving(application) as server, client(server) as one:
        for _ in range(2):
            go_on.clear()
            await one.send(GET)
            assert (await one.head())[1] == {"transfer-encoding": "chunked"}
            assert await one.reader.readexactly(10) == b"5\r\nfirst\r\n"
            go_on.set()
            assert await one.reader.readexactly(14) == b"4\r\nlast\r\n0\r\n\r\n"


async def test_http_1_0_is_framed_by_length_or_by_the_end() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/length":
            await reply(send, b"ok")
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"until the end"})

    async with serving(application) as server:
        async with client(server) as one:
            await one.send(b"GET /length HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert (await one.response())[1]["connection"] == "keep-alive"
            await one.send(b"GET /end HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            _, fields, body = await one.response()
            assert (fields, body) == ({"connection": "close"}, b"until the end")
        async with client(server) as two:
            await two.send(b"GET /length HTTP/1.0\r\n\r\n")
            await two.response()
            assert await two.ended() == b""


async def test_http_1_0_without_a_host_gets_the_servers_own() -> None:
    """What is passed on as HTTP/1.1 needs one."""
    async with serving(echo) as server:
        _, _, body = await ask(server, b"GET / HTTP/1.0\r\nX: y\r\n\r\n")
        host, port = server.address
        assert json.loads(body)["headers"] == [["host", f"{host}:{port}"], ["x", "y"]]


async def test_the_target_is_kept_as_it_came() -> None:
    seen: list[bytes] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["atoll.target"])
        await reply(send, b"")

    targets = [b"/", b"/?", b"/%2e%2E/..//a;b?c?d=%", b"/a\\b"]
    async with serving(application) as server, client(server) as one:
        for target in targets:
            await one.send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            await one.response()
        await one.send(b"GET http://a?x HTTP/1.1\r\nHost: a\r\n\r\n")
        await one.response()
    assert seen == [*targets, b"/?x"]


@pytest.mark.parametrize("options", [b"close", b"Close", b"keep-alive, close"])
async def test_a_client_that_asks_for_the_end_gets_it(options: bytes) -> None:
    async with serving(echo) as server, client(server) as one:
        await one.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: " + options + b"\r\n\r\n" + GET)
        assert (await one.response())[1]["connection"] == "close"
        assert await one.ended() == b""
        assert server.statistics().requests == 1


async def test_an_absolute_target_is_taken_apart_and_its_authority_wins() -> None:
    async with serving(echo) as server:
        for target, path in ((b"http://b:81/p?q", "/p"), (b"HTTP://b:81", "/"), (b"https://b:81?q", "/")):
            _, _, body = await ask(server, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n")
            seen = json.loads(body)
            assert (seen["path"], seen["headers"]) == (path, [["host", "b:81"], ["x", "y"]])


@pytest.mark.parametrize(
    "body", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"]
)
async def test_an_upgrade_is_ignored_and_hides_no_request(body: bytes) -> None:
    async with serving(echo) as server, client(server) as one:
        head = b"POST /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        await one.send(head + body + GET)
        seen = json.loads((await one.response())[2])
        assert (seen["path"], seen["body"]) == ("/up", "abc")
        assert ["upgrade", "h2c"] not in seen["headers"]
        assert json.loads((await one.response())[2])["path"] == "/"
        assert server.statistics().requests == 2


# --- WebSocket ---

ASKING = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def grant(scope: Scope, receive: Receive, send: Send) -> None:
    """Joins the client with itself: what it says comes back."""
    upgrade: Upgrade = scope["extensions"][UPGRADE]
    await upgrade.ready()
    end = upgrade.switch([(b"x-from", b"here"), (b"content-length", b"3"), (b"connection", b"close")])
    lost = asyncio.get_running_loop().create_future()

    class Mirror(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            end.transport.write(data)

        def connection_lost(self, exc: Exception | None) -> None:
            end.lost(exc)
            lost.set_result(None)

    end.transport.set_protocol(Mirror())
    end.transport.write(end.early)
    if not end.transport.is_reading():
        end.transport.resume_reading()
    await lost


async def test_a_granted_upgrade_hands_over_the_connection_and_what_came_behind_it() -> None:
    async with serving(grant) as server:
        async with client(server) as one:
            await one.send(GET.replace(b"GET", b"HEAD") + ASKING + b"early")
            await one.send(b"late")
            await asyncio.sleep(0)
            assert (await one.head())[0] == 500, "there is nothing to grant in a HEAD"
        async with client(server) as one:
            await one.send(ASKING + b"early")
            status, fields = await one.head()
            assert (status, fields) == (
                101,
                {"connection": "Upgrade", "upgrade": "websocket", "x-from": "here"},
            )
            assert await one.reader.readexactly(5) == b"early"
            await one.send(b"late")
            assert await one.reader.readexactly(4) == b"late"
            assert server.statistics().in_flight == 1
        await until(lambda: server.statistics().in_flight == 0)
        assert server.statistics().connections == 0
        assert server.statistics().disconnects == 0


async def test_what_follows_an_upgrade_that_is_not_granted_is_no_request() -> None:
    async with serving(echo) as server, client(server) as one:
        await one.send(ASKING + GET)
        await one.send(GET)
        status, fields, body = await one.response()
        assert (status, fields["connection"]) == (200, "close")
        assert json.loads(body)["path"] == "/ws"
        assert await one.ended() == b""
        assert server.statistics().requests == 1


async def test_what_comes_before_an_upgrade_is_answered_is_bounded() -> None:
    go = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        await grant(scope, receive, send)

    async with serving(application) as server, client(server) as one:
        await one.send(ASKING)
        sending = asyncio.ensure_future(one.send(b"x" * 20_000_000))
        done, _ = await asyncio.wait([sending], timeout=0.3)
        assert not done
        go.set()
        await one.head()
        assert await one.reader.readexactly(20_000_000) == b"x" * 20_000_000
        await sending


async def test_an_upgrade_that_would_split_the_response_is_not_written() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"][UPGRADE].switch([(b"x", b"y\r\nset-cookie: z")])

    async with serving(application) as server:
        assert (await ask(server, ASKING))[0] == 500


# --- requests that are refused ---

HOST = b"Host: a\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
REFUSED = {
    "length and coding": (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "coding and length": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    "repeated length": (400, POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    "list of lengths": (400, POST + b"Content-Length: 1, 1\r\n\r\na"),
    "signed length": (400, POST + b"Content-Length: +1\r\n\r\na"),
    "hexadecimal length": (400, POST + b"Content-Length: 0x1\r\n\r\na"),
    "empty length": (400, POST + b"Content-Length:\r\n\r\n"),
    "overflowing length": (400, POST + b"Content-Length: 99999999999999999999\r\n\r\n"),
    "gzip, chunked": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked, gzip": (400, POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    "gzip then chunked": (
        400,
        POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "empty member": (501, POST + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
    "chunked twice": (
        400,
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "xchunked": (501, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "identity": (501, POST + b"Transfer-Encoding: identity\r\n\r\n"),
    "vertical tab before the coding": (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "coding in 1.0": (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "bare line feed": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "bare line feed after a field": (400, b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    "bare line feed at the end": (400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    "folded field": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
    "space before the colon": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n"),
    "space before the first field": (400, b"GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n"),
    "no colon": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
    "name with brackets": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX(a): b\r\n\r\n"),
    "name with high bytes": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX\xff: b\r\n\r\n"),
    "name with NUL": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n"),
    "empty name": (400, b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    "NUL in a value": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
    "carriage return in a value": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
    "control character in a value": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n"),
    "authority form": (400, b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "asterisk of a GET": (400, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "fragment": (400, b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "high byte in the target": (400, b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"),
    "control character in the target": (400, b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "user information in the target": (400, b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "no authority in the target": (400, b"GET http:///p HTTP/1.1\r\nHost: a\r\n\r\n"),
    "other scheme": (400, b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "no Host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    "empty Host": (400, b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    "Host with a path": (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "Host with user information": (400, b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    "Host with a space": (400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    "Host with a bad port": (400, b"GET / HTTP/1.1\r\nHost: a:80x\r\n\r\n"),
    "CONNECT": (501, b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
    "CONNECT that upgrades": (
        501,
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ),
    "method of Icecast": (501, b"SOURCE / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "Icecast": (501, b"SOURCE / ICE/1.0\r\nHost: a\r\n\r\n"),
    "unknown method": (501, b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "lower case method": (501, b"get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "method of RTSP": (501, b"ANNOUNCE / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "other expectation": (417, POST + b"Expect: 200-ok\r\nContent-Length: 0\r\n\r\n"),
    "HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/2.0 on a request line": (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    "HTTP/1.2": (505, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    "HTTP/0.9": (505, b"GET /\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "chunk size with 0x": (400, CHUNKED + b"0x1\r\na\r\n0\r\n\r\n"),
    "chunk size with a sign": (400, CHUNKED + b"+1\r\na\r\n0\r\n\r\n"),
    "chunk size with a space": (400, CHUNKED + b"1 \r\na\r\n0\r\n\r\n"),
    "chunk size that overflows": (400, CHUNKED + b"fffffffffffffffff\r\n"),
    "chunk line with a bare line feed": (400, CHUNKED + b"1\na\r\n0\r\n\r\n"),
    "extension with a bare line feed": (400, CHUNKED + b"1;a\nb\r\na\r\n0\r\n\r\n"),
    "chunk longer than it says": (400, CHUNKED + b"1\r\nab\r\n0\r\n\r\n"),
    "declared body too large": (413, POST + b"Content-Length: 10485761\r\n\r\n"),
    "target too long": (414, b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "target without end": (414, b"GET /" + b"a" * 9000),
    "too many fields": (431, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 100 + b"\r\n"),
    "field too long": (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 16384 + b"\r\n\r\n"),
    "field without end": (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 16384),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("in_pieces", [False, True])
async def test_refused(case: str, in_pieces: bool) -> None:
    expected, data = REFUSED[case]
    answered: list[bytes] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await whole_body(receive)
        answered.append(scope["raw_path"])
        await reply(send, b"")

    async with serving(application) as server, client(server) as one:
        cut = len(data) // 2 if in_pieces else len(data)
        await one.send(data[:cut])
        if in_pieces:
            await asyncio.sleep(0.005)
        await one.send(data[cut:] + (b"" if case.endswith("without end") else GET))
        status, fields, body = await one.response()
        problem = json.loads(body)
        assert status == expected == problem["status"]
        assert fields["content-type"] == "application/problem+json"
        assert fields["connection"] == "close"
        assert fields["x-request-id"] == problem["request_id"]
        assert set(problem) == {"type", "title", "status", "detail", "request_id"}
        assert await one.ended() == b""
        assert answered == []
        assert sum(server.statistics().refused.values()) == 1


async def test_a_chunked_body_over_the_limit_is_refused_and_its_application_cancelled() -> None:
    begun = asyncio.Event()
    cancelled = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        try:
            await whole_body(receive)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with serving(application, Limits(body_bytes=1000)) as server, client(server) as one:
        await one.send(CHUNKED + b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        await begun.wait()
        await one.send(b"1\r\nx\r\n")
        assert (await one.response())[0] == 413
        await cancelled.wait()


@pytest.mark.parametrize(
    "filler", [b"1;" + b"e" * 8000 + b"\r\nx\r\n", b"0\r\n" + b"T: t\r\n" * 1000, b"0\r\nT: " + b"t" * 8000]
)
async def test_framing_without_content_is_bounded(filler: bytes) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await whole_body(receive)

    async with serving(application) as server, client(server) as one:
        await one.send(CHUNKED)
        follows = filler
        for _ in range(40):
            if one.reader.at_eof() or server.statistics().refused:
                break
            await one.send(follows)
            follows = (
                filler if filler.startswith(b"1") else filler.removeprefix(b"0\r\n").removeprefix(b"T: ")
            )
            await asyncio.sleep(0.002)
        assert (await one.response())[0] == 400


async def test_a_refusal_arrives_although_the_client_keeps_sending() -> None:
    async with serving(echo, Limits(body_bytes=10)) as server, client(server) as one:
        await one.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n")
        for _ in range(20):
            await one.send(b"x" * 100_000)
        assert (await one.response())[0] == 413
        assert await one.ended() == b""


async def test_connections_over_the_limit_are_told_so() -> None:
    async with serving(echo, Limits(max_connections=1)) as server, client(server) as one:
        await one.send(GET)
        await one.response()
        async with client(server) as two:
            status, fields, _ = await two.response()
            assert (status, fields["connection"]) == (503, "close")
            await two.ended()
        await one.send(GET)
        assert (await one.response())[0] == 200
        assert server.statistics().refused == {"too-many-connections": 1}


# --- time ---

SILENT = {
    "nothing": (b"", 10.0, None),
    "half a request line": (b"GET /", 10.0, 408),
    "half a head": (b"GET / HTTP/1.1\r\nHo", 10.0, 408),
    "half a body": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx", 30.0, 408),
}


@pytest.mark.parametrize("case", SILENT)
async def test_silence_within_a_request_is_ended(case: str) -> None:
    data, limit, status = SILENT[case]
    clock = ManualClock()
    begun = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await whole_body(receive)

    async with serving(application, clock=clock) as server, client(server) as one:
        await one.send(b"\r\n" + data if data else b"")
        if limit == 30.0:
            await begun.wait()
        await until(lambda: server.statistics().connections == 1)
        await asyncio.sleep(0.01)
        clock.advance(limit - 0.1)
        server.sweep()
        assert server.statistics().connections == 1
        clock.advance(0.5)
        server.sweep()
        if status is None:
            assert await one.ended() == b""
        else:
            assert (await one.response())[0] == status


async def test_a_slow_head_is_ended_although_it_goes_on() -> None:
    clock = ManualClock()
    async with serving(echo, clock=clock) as server, client(server) as one:
        await one.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        for n in range(30):
            await asyncio.sleep(0.002)
            clock.advance(0.5)
            server.sweep()
            if server.statistics().refused:
                break
            await one.send(b"X-%d: y\r\n" % n)
        assert server.statistics().refused == {"header-timeout": 1}
        assert (await one.response())[0] == 408


async def test_an_idle_connection_is_closed_and_a_running_request_is_not() -> None:
    clock = ManualClock()
    release = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await reply(send, b"late")

    async with serving(application, clock=clock) as server, client(server) as one:
        await one.send(GET)
        await until(lambda: server.statistics().in_flight == 1)
        clock.advance(1000)
        server.sweep()
        release.set()
        assert (await one.response())[2] == b"late"
        clock.advance(74)
        server.sweep()
        assert server.statistics().connections == 1
        clock.advance(2)
        server.sweep()
        assert await one.ended() == b""


async def test_a_client_that_takes_nothing_is_reset() -> None:
    clock = ManualClock()
    failed = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        finally:
            failed.set()

    async with serving(application, clock=clock) as server:
        sock = socket.create_connection(server.address)
        sock.sendall(GET)
        await until(lambda: server.statistics().in_flight == 1)
        await asyncio.sleep(0.1)
        assert not failed.is_set()
        clock.advance(61)
        server.sweep()
        await failed.wait()
        assert server.statistics().refused == {"write-timeout": 1}
        sock.close()


# --- back pressure ---


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


async def test_an_application_that_does_not_read_stops_the_client() -> None:
    read = asyncio.Event()
    size = 12_000_000

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        first = await receive()
        await read.wait()
        rest = await whole_body(receive)
        await reply(send, b"%d" % (len(first["body"]) + len(rest)))

    async with serving(application, Limits(body_bytes=None)) as server, client(server) as one:
        sending = asyncio.ensure_future(
            one.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        )
        _, stuck = await asyncio.wait([sending], timeout=0.2)
        assert stuck
        read.set()
        await sending
        assert (await one.response())[2] == b"%d" % size


async def test_a_client_that_does_not_read_stops_the_application() -> None:
    sent = 0
    total = 400

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for n in range(total):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": n + 1 < total})
            sent += 1

    async with serving(application) as server, client(server) as one:
        await one.send(GET)
        await one.head()
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)
        assert sent < total
        body = 0
        while size := int((await one.reader.readuntil(b"\r\n"))[:-2], 16):
            body += len(await one.reader.readexactly(size))
            await one.reader.readexactly(2)
        assert body == total * 65536


@pytest.mark.parametrize("reads", [True, False])
async def test_a_large_body_that_came_at_once_does_not_silence_its_connection(reads: bool) -> None:
    """It stops the reading, having come whole; the next request on the connection is read all the same."""
    held = asyncio.Event()

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await held.wait()
        body = await whole_body(receive) if reads else b""
        await reply(send, str(len(body)).encode())

    size = 100_000
    async with serving(late) as server, client(server) as connection:
        for path in ("/first", "/second"):
            head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode()
            await connection.send(head + b"x" * size)
            await asyncio.sleep(0.1)  # until it has all come; were it shorter, the test would only be weaker
            held.set()
            async with asyncio.timeout(5):
                assert (await connection.response())[2] == (str(size).encode() if reads else b"0")
            held.clear()


async def test_both_directions_stream_at_once() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    async with serving(application) as server, client(server) as one:
        await one.send(CHUNKED)
        await one.head()
        for _ in range(3):
            await one.send(b"2\r\nab\r\n")
            assert await one.reader.readexactly(7) == b"2\r\nab\r\n"
        await one.send(b"0\r\n\r\n")
        assert await one.reader.readexactly(5) == b"0\r\n\r\n"


# --- the client goes away ---


@pytest.mark.parametrize("how", ["close", "reset", "half"])
async def test_a_client_that_leaves_cancels_its_request(how: str) -> None:
    cancelled = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert (await receive())["type"] == "http.disconnect"
            with pytest.raises(ClientGone):
                await reply(send, b"")
            cancelled.set()
            raise

    async with serving(application) as server, client(server) as one:
        await one.send(GET)
        await until(lambda: server.statistics().in_flight == 1)
        if how == "half":
            one.writer.write_eof()
        elif how == "reset":
            one.reset()
        else:
            one.close()
        await cancelled.wait()
        await until(lambda: server.statistics().in_flight == 0)
        assert server.statistics().disconnects == 1


async def test_receive_tells_of_the_end_of_the_client() -> None:
    told = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        assert await whole_body(receive) == b""
        waiting = asyncio.ensure_future(receive())
        try:
            await waiting
        except asyncio.CancelledError:
            assert (await receive())["type"] == "http.disconnect"
            told.set()
            raise

    async with serving(application) as server, client(server) as one:
        await one.send(GET)
        await until(lambda: server.statistics().in_flight == 1)
        one.close()
        await told.wait()


async def test_work_after_the_response_is_not_cancelled() -> None:
    done = asyncio.Event()
    go_on = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"ok")
        await go_on.wait()
        done.set()

    async with serving(application) as server:
        async with client(server) as one:
            await one.send(GET)
            await one.response()
        await until(lambda: server.statistics().connections == 0)
        go_on.set()
        await done.wait()
        assert server.statistics().disconnects == 0


# --- the application fails ---


async def crash(scope: Scope, receive: Receive, send: Send) -> None:
    raise LookupError("a bug")


async def say_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    return


async def split_the_response(scope: Scope, receive: Receive, send: Send) -> None:
    await reply(send, b"", 200, (b"x-evil", b"a\r\nset-cookie: b"))


@pytest.mark.parametrize("application", [crash, say_nothing, split_the_response])
async def test_an_application_that_does_not_answer_is_answered_for(application: Application) -> None:
    async with serving(application) as server, client(server) as one:
        await one.send(GET)
        status, fields, body = await one.response()
        assert (status, json.loads(body)["status"], fields["connection"]) == (500, 500, "close")
        assert await one.ended() == b""


async def too_short(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"abc"})


async def too_long(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"abc", "more_body": True})
    await send({"type": "http.response.body", "body": b"defg"})


async def cut(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"abc", "more_body": True})
    raise CutResponse


@pytest.mark.parametrize("application", [too_short, too_long, cut])
async def test_a_response_that_stays_incomplete_can_be_told_from_a_whole_one(
    application: Application,
) -> None:
    async with serving(application) as server, client(server) as one:
        await one.send(GET + GET)
        with pytest.raises(asyncio.IncompleteReadError):
            await one.response()
        assert server.statistics().requests == 1


async def test_a_cut_response_that_only_the_end_frames_is_reset() -> None:
    async with serving(cut) as server, client(server) as one:
        await one.send(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await one.response()


async def test_framing_is_the_servers_own() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"ok", 200, (b"Transfer-Encoding", b"chunked"), (b"keep-alive", b"timeout=5"))

    async with serving(application) as server:
        _, fields, body = await ask(server, GET)
        assert (fields, body) == ({"content-length": "2"}, b"ok")


# --- the end ---


async def test_a_drain_finishes_what_runs_and_loses_nothing() -> None:
    release = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await release.wait()
        await reply(send, b"ok")

    async with (
        serving(application) as server,
        client(server) as slow,
        client(server) as idle,
        client(server) as busy,
    ):
        await slow.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        for one in (idle, busy):
            await one.send(GET)
            await one.response()
        queued = socket.create_connection(server.address)  # in the kernel's queue when the drain begins
        queued.sendall(GET)
        draining = asyncio.ensure_future(server.drain(5, idle_grace_s=0.2))
        await until(lambda: server.statistics().draining)
        await busy.send(GET)
        assert (await busy.response())[1]["connection"] == "close"
        assert await idle.ended() == b""
        queued.settimeout(2)
        answer = await asyncio.get_running_loop().run_in_executor(None, queued.recv, 1000)
        assert answer.startswith(b"HTTP/1.1 200")
        queued.close()
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await asyncio.open_connection(*server.address)
        assert not draining.done()
        release.set()
        _, fields, body = await slow.response()
        assert (fields["connection"], body) == ("close", b"ok")
        assert await slow.ended() == b""
        slow.close()
        assert await draining


async def test_a_drain_answers_pipelined_requests_and_ends_a_response_that_had_begun() -> None:
    go_on = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"ok"})

    async with serving(application) as server, client(server) as pipelining, client(server) as begun:
        await pipelining.send(GET * 3)
        await begun.send(GET)
        assert (await begun.head())[0] == 200
        draining = asyncio.ensure_future(server.drain(5, idle_grace_s=0))
        await until(lambda: server.statistics().draining)
        await asyncio.sleep(0.05)
        go_on.set()
        assert await begun.ended() == b"ok"
        begun.close()
        answers = [await pipelining.response() for _ in range(3)]
        assert [answer[2] for answer in answers] == [b"ok"] * 3
        assert answers[2][1]["connection"] == "close"
        pipelining.close()
        assert await draining


async def test_a_drain_cuts_what_does_not_end() -> None:
    cancelled = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(application) as server, client(server) as one:
        await one.send(GET)
        await until(lambda: server.statistics().in_flight == 1)
        assert not await server.drain(0.1)
        assert cancelled.is_set()


async def test_a_drain_cuts_tunnels_at_its_end() -> None:
    async with serving(grant) as server, client(server) as one:
        await one.send(ASKING)
        await one.head()
        draining = asyncio.ensure_future(server.drain(0.3))
        await one.send(b"still")
        assert await one.reader.readexactly(5) == b"still"
        assert not await draining
        with contextlib.suppress(ConnectionError):
            assert await one.ended() == b""


async def test_a_server_takes_a_socket_that_is_given_to_it() -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = HttpServer(echo)
    await server.start(sock=sock)
    assert server.address == sock.getsockname()
    assert (await ask(server, GET))[0] == 200
    await server.close()
