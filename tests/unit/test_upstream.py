"""The client edge over real sockets: reuse, framing, and how far a failed request got."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import uvloop

from atoll.clock import ManualClock
from atoll_gateway.upstream import PoolSettings, Upstream
from atoll_gateway.upstream_connection import UpstreamConnection, UpstreamResponse
from atoll_gateway.upstream_errors import (
    Abandoned,
    ConnectRefused,
    ConnectTimedOut,
    GreetingRefused,
    ProtocolError,
    RequestNotSent,
    ResponseLost,
    Truncated,
    UpstreamError,
)

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")

HEAD = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HELLO = b"POST /-/peer/hello HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"

Handler = Callable[["FarSide", int], Awaitable[None]]


@pytest.fixture(params=["uvloop", "asyncio"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


class FarSide:
    """One accepted connection of a far side that does what the test wrote, byte for byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self, body: int = 0) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        return head + (await self.reader.readexactly(body) if body else b"")

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def left(self) -> None:
        """Returns once the near side has closed the connection."""
        with suppress(ConnectionError):
            assert await self.reader.read() == b""


@asynccontextmanager
async def far_side(handler: Handler) -> AsyncIterator[int]:
    """Listens; gives the port. The handler gets each connection and its number, and closes it by
    returning.
    """
    tasks: set[asyncio.Task[None]] = set()
    count = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(FarSide(reader, writer), count - 1)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def pool(port: int, **arguments: object) -> AsyncIterator[Upstream]:
    upstream = Upstream("127.0.0.1", port, **arguments)  # type: ignore[arg-type]
    try:
        yield upstream
    finally:
        upstream.close()
        await until(lambda: upstream.statistics().open == 0 and upstream.statistics().opening == 0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


async def always_ok(far: FarSide, number: int) -> None:
    while True:
        await far.request()
        await far.say(OK)


def answering(data: bytes) -> Handler:
    """Answers the first request with `data` and closes."""

    async def handler(far: FarSide, number: int) -> None:
        await far.request()
        await far.say(data)

    return handler


# --- responses ---

WHOLE = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc", 3),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\nT: t\r\n\r\n",
        200,
        b"abc",
        None,
    ),
    "until the end": (b"HTTP/1.1 200 OK\r\n\r\nabc", 200, b"abc", None),
    "until the end in 1.0": (b"HTTP/1.0 200 OK\r\n\r\nabc", 200, b"abc", None),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", None),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b"", 9),
    "after informational ones": (
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
        ),
        200,
        b"a",
        1,
    ),
    "no reason": (b"HTTP/1.1 599\r\nContent-Length: 0\r\n\r\n", 599, b"", 0),
}


@pytest.mark.parametrize("case", WHOLE)
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("bytewise", [False, True])
async def test_a_response_is_read_whole(case: str, streamed: bool, bytewise: bool) -> None:
    data, status, body, length = WHOLE[case]

    async def handler(far: FarSide, number: int) -> None:
        await far.request()
        step = 1 if bytewise else len(data)
        for at in range(0, len(data), step):
            await far.say(data[at : at + step])
            await asyncio.sleep(0)

    async with far_side(handler) as port, pool(port) as upstream:
        response = await upstream.send(HEAD, None, method="GET")
        got = b"".join([chunk async for chunk in response.stream()]) if streamed else await response.read()
        assert (response.status, got, response.content_length) == (status, body, length)
        assert response.complete


async def test_fields_keep_their_order_with_names_in_lower_case() -> None:
    data = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=B \r\nSET-COOKIE: c\r\nContent-Length: 0\r\n\r\n"
    async with far_side(answering(data)) as port, pool(port) as upstream:
        response = await upstream.send(HEAD, None, method="GET")
        assert response.headers == [(b"set-cookie", b"a=B"), (b"set-cookie", b"c"), (b"content-length", b"0")]


async def test_an_answer_to_head_has_no_body_and_leaves_the_connection_usable() -> None:
    async def handler(far: FarSide, number: int) -> None:
        assert number == 0
        await far.request()
        await far.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        await far.request()
        await far.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await far.request()
        await far.say(OK)

    async with far_side(handler) as port, pool(port) as upstream:
        for length in (10, None):
            response = await upstream.send(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n", None, method="HEAD")
            assert (response.content_length, await response.read()) == (length, b"")
        assert await (await upstream.send(HEAD, None, method="GET")).read() == b"ok"


UNREADABLE = {
    "not HTTP": b"SSH-2.0-x\r\n",
    "length and coding": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "other coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    "two codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "status of no class": b"HTTP/1.1 600 What\r\nContent-Length: 0\r\n\r\n",
    "bare line feed": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "an upgrade": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "too large a head": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
    "endless informational ones": b"HTTP/1.1 103 Early Hints\r\nX: yyyyyyy\r\n\r\n" * 2000,
}


@pytest.mark.parametrize("case", UNREADABLE)
async def test_an_unreadable_response_is_an_error_and_ends_the_connection(case: str) -> None:
    async def handler(far: FarSide, number: int) -> None:
        await far.request()
        await far.say(UNREADABLE[case])
        await far.left()

    async with far_side(handler) as port, pool(port) as upstream:
        with pytest.raises(ProtocolError):
            await upstream.send(HEAD, None, method="GET")
        assert upstream.statistics().open == 0


TRUNCATED = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
}


@pytest.mark.parametrize("case", TRUNCATED)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_body_that_breaks_off_is_never_taken_for_whole(case: str, streamed: bool) -> None:
    async with far_side(answering(TRUNCATED[case])) as port, pool(port) as upstream:
        response = await upstream.send(HEAD, None, method="GET")
        if streamed:
            stream = response.stream()
            assert await anext(stream) == b"abc"
            reading: Awaitable[bytes] = anext(stream)
        else:
            reading = response.read()
        with pytest.raises(Truncated):
            await reading
        assert not response.complete


# --- WebSocket ---

ASKING = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
GRANTED = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n"


async def test_a_granted_upgrade_hands_over_the_connection_and_what_came_behind_it() -> None:
    left = asyncio.Event()

    async def handler(far: FarSide, number: int) -> None:
        await far.request()
        await far.say(b"HTTP/1.1 100 Continue\r\n\r\n" + GRANTED + b"early")
        await far.left()
        left.set()

    async with far_side(handler) as port, pool(port) as upstream:
        response = await upstream.send(ASKING, None, method="GET", upgrade=True)
        assert response.status == 101
        assert upstream.statistics().open == 0, "it is no connection of the pool any more"
        assert response.switch().early == b"early"
        response.close()
        await left.wait()


@pytest.mark.parametrize(
    "answer", [GRANTED.replace(b"WebSocket", b"h2c"), b"HTTP/1.1 101 Switching\r\n\r\n" + OK]
)
async def test_an_upgrade_to_something_else_is_an_error(answer: bytes) -> None:
    async with far_side(answering(answer)) as port, pool(port) as upstream:
        with pytest.raises(ProtocolError):
            await upstream.send(ASKING, None, method="GET", upgrade=True)


async def test_a_refused_upgrade_leaves_the_connection_usable() -> None:
    async def handler(far: FarSide, number: int) -> None:
        assert number == 0
        while True:
            await far.request()
            await far.say(OK)

    async with far_side(handler) as port, pool(port) as upstream:
        assert (await (await upstream.send(ASKING, None, method="GET", upgrade=True)).read()) == b"ok"
        assert (await (await upstream.send(HEAD, None, method="GET")).read()) == b"ok"


# --- connections ---


async def test_a_connection_is_used_again_last_one_first() -> None:
    together = asyncio.Barrier(3)
    used: list[int] = []

    async def handler(far: FarSide, number: int) -> None:
        await far.request()
        await together.wait()
        await far.say(OK)
        while True:
            await far.request()
            used.append(number)
            await far.say(OK)

    async with far_side(handler) as port, pool(port) as upstream:
        first = [asyncio.ensure_future(upstream.send(HEAD, None, method="GET")) for _ in range(3)]
        for one in first:
            await (await one).read()
        assert upstream.statistics().idle == 3
        for _ in range(5):
            await (await upstream.send(HEAD, None, method="GET")).read()
        assert len(set(used)) == 1
        statistics = upstream.statistics()
        assert (statistics.connects, statistics.reused, statistics.requests) == (3, 5, 8)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: x, close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        OK + OK,
        OK + b"surplus",
    ],
)
async def test_a_connection_that_may_not_be_used_again_is_not(answer: bytes) -> None:
    async def handler(far: FarSide, number: int) -> None:
        await far.request()
        await far.say(answer)
        await far.left()

    async with far_side(handler) as port, pool(port) as upstream:
        for _ in range(2):
            response = await upstream.send(HEAD, None, method="GET")
            assert await response.read() == b"ok"
            assert upstream.statistics().open == 0
        assert upstream.statistics().connects == 2


@pytest.mark.parametrize("surplus", [b"", b"HTTP/1.1 408 Too slow\r\nContent-Length: 0\r\n\r\n"])
async def test_an_idle_connection_that_ends_or_speaks_is_not_handed_out(surplus: bytes) -> None:
    go = asyncio.Event()

    async def handler(far: FarSide, number: int) -> None:
        await far.request()
        await far.say(OK)
        if number == 0:
            await go.wait()
            await far.say(surplus)
            return
        await always_ok(far, number)

    async with far_side(handler) as port, pool(port) as upstream:
        await (await upstream.send(HEAD, None, method="GET")).read()
        go.set()
        await until(lambda: upstream.statistics().idle == 0)
        assert (await upstream.send(HEAD, None, method="GET")).status == 200
        assert upstream.statistics().connects == 2


async def test_idle_connections_are_closed_in_time_and_never_used_after_it() -> None:
    clock = ManualClock()
    async with far_side(always_ok) as port, pool(port, clock=clock) as upstream:
        await (await upstream.send(HEAD, None, method="GET")).read()
        clock.advance(4.1)
        await (await upstream.send(HEAD, None, method="GET")).read()
        assert upstream.statistics().connects == 2
        assert upstream.statistics().reused == 0
    settings = PoolSettings(idle_timeout_s=0.05)
    async with far_side(always_ok) as port, pool(port, settings=settings) as upstream:
        await (await upstream.send(HEAD, None, method="GET")).read()
        await until(lambda: upstream.statistics().open == 0)


async def test_no_more_idle_connections_than_set_are_kept() -> None:
    together = asyncio.Barrier(4)

    async def handler(far: FarSide, number: int) -> None:
        await far.request()
        await together.wait()
        await far.say(OK)
        await far.left()

    async with far_side(handler) as port, pool(port, settings=PoolSettings(max_idle=2)) as upstream:
        responses = await asyncio.gather(*[upstream.send(HEAD, None, method="GET") for _ in range(4)])
        assert [await response.read() for response in responses] == [b"ok"] * 4
        assert upstream.statistics().idle == 2
        upstream.close_when_idle()
        assert upstream.statistics().open == 0


async def test_requests_over_the_limit_wait_their_turn() -> None:
    order: list[bytes] = []

    async def handler(far: FarSide, number: int) -> None:
        assert number < 2
        while True:
            order.append((await far.request()).split(b" ")[1])
            await far.say(OK)

    async with far_side(handler) as port, pool(port, settings=PoolSettings(max_connections=2)) as upstream:

        async def one(n: int) -> None:
            response = await upstream.send(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % n, None, method="GET")
            await response.read()

        await asyncio.gather(*[one(n) for n in range(20)])
        assert sorted(order) == sorted(b"/%d" % n for n in range(20))
        assert upstream.statistics().connects == 2


async def test_a_request_that_gets_no_connection_was_not_sent() -> None:
    async def handler(far: FarSide, number: int) -> None:
        await far.left()

    settings = PoolSettings(max_connections=1, acquire_timeout_s=0.05)
    async with far_side(handler) as port, pool(port, settings=settings) as upstream:
        first = asyncio.ensure_future(upstream.send(HEAD, None, method="GET"))
        await until(lambda: upstream.statistics().in_flight == 1)
        with pytest.raises(RequestNotSent) as caught:
            await upstream.send(HEAD, None, method="GET")
        assert not caught.value.bytes_sent
        assert upstream.statistics().waiting == 0
        first.cancel()


async def test_a_waiter_takes_the_place_of_a_connection_that_ends() -> None:
    async def handler(far: FarSide, number: int) -> None:
        await far.request()
        if number:
            await far.say(OK)

    async with far_side(handler) as port, pool(port, settings=PoolSettings(max_connections=1)) as upstream:
        results = await asyncio.gather(
            upstream.send(HEAD, None, method="GET"),
            upstream.send(HEAD, None, method="GET"),
            return_exceptions=True,
        )
        assert isinstance(results[0], ResponseLost)
        assert not isinstance(results[1], BaseException)


# --- connecting ---


async def test_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can take it
        async with pool(free.getsockname()[1]) as upstream:
            results = await asyncio.gather(
                *[upstream.send(HEAD, None, method="GET") for _ in range(5)], return_exceptions=True
            )
            assert [type(result) for result in results] == [ConnectRefused] * 5
            assert upstream.statistics().refused == 5


async def test_connect_timeout() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]  # a full queue lets further connects hang
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        async with pool(full.getsockname()[1], settings=PoolSettings(connect_timeout_s=0.1)) as upstream:
            with pytest.raises(ConnectTimedOut) as caught:
                await upstream.send(HEAD, None, method="GET")
            assert not caught.value.bytes_sent
        for filler in fillers:
            filler.close()


async def test_a_greeting_opens_every_connection_once() -> None:
    heard: list[bytes] = []

    async def handler(far: FarSide, number: int) -> None:
        heard.append(await far.request())
        await far.say(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nwelcome")
        await always_ok(far, number)

    async with far_side(handler) as port, pool(port, greeting=lambda: HELLO) as upstream:
        for _ in range(3):
            assert await (await upstream.send(HEAD, None, method="GET")).read() == b"ok"
        assert heard == [HELLO]
        statistics = upstream.statistics()
        assert (statistics.requests, statistics.reused, statistics.open) == (3, 2, 1)


UNWELCOME = {
    "refused": (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", GreetingRefused),
    "closed": (b"", ConnectRefused),
    "unreadable": (b"SSH-2.0-x\r\n", ConnectRefused),
    "closed after it": (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", ConnectRefused),
}


@pytest.mark.parametrize("case", UNWELCOME)
async def test_a_connection_without_welcome_is_none(case: str) -> None:
    answer, error = UNWELCOME[case]
    async with far_side(answering(answer)) as port, pool(port, greeting=lambda: HELLO) as upstream:
        with pytest.raises(error) as caught:
            await upstream.send(HEAD, None, method="GET")
        assert isinstance(caught.value, UpstreamError)
        assert not caught.value.bytes_sent
        assert upstream.statistics().open == 0


async def test_a_greeting_without_answer_is_a_connect_timeout() -> None:
    async def handler(far: FarSide, number: int) -> None:
        await far.request()
        await far.left()

    settings = PoolSettings(connect_timeout_s=0.1)
    async with far_side(handler) as port, pool(port, settings=settings, greeting=lambda: HELLO) as upstream:
        with pytest.raises(ConnectTimedOut):
            await upstream.send(HEAD, None, method="GET")


# --- requests ---


async def test_a_whole_body_is_sent() -> None:
    heard: list[bytes] = []

    async def handler(far: FarSide, number: int) -> None:
        heard.append(await far.request(3))
        await far.say(OK)

    async with far_side(handler) as port, pool(port) as upstream:
        await upstream.send(POST % 3, b"abc", method="POST")
        assert heard == [POST % 3 + b"abc"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_streamed_body_is_framed_as_the_head_says(chunked: bool) -> None:
    heard: list[bytes] = []
    head = b"POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\n\r\n" if chunked else POST % 5
    wire = b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n" if chunked else b"abcde"

    async def body() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b""
        yield b"cde"

    async def handler(far: FarSide, number: int) -> None:
        while True:
            heard.append(await far.request(len(wire)))
            await far.say(OK)

    async with far_side(handler) as port, pool(port) as upstream:
        for _ in range(2):
            await (await upstream.send(head, body(), method="POST")).read()
        assert heard == [head + wire] * 2
        assert upstream.statistics().connects == 1


async def test_a_streamed_body_waits_for_the_far_side() -> None:
    read = asyncio.Event()
    given = 0
    count = 400

    async def body() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(count):
            given += 1
            yield b"x" * 65536

    async def handler(far: FarSide, number: int) -> None:
        await far.request()
        await read.wait()
        await far.reader.readexactly(count * 65536)
        await far.say(OK)

    async with far_side(handler) as port, pool(port) as upstream:
        sending = asyncio.ensure_future(upstream.send(POST % (count * 65536), body(), method="POST"))
        before = -1
        while before != given or not given:
            before = given
            await asyncio.sleep(0.05)
        assert given < count
        read.set()
        assert (await sending).status == 200


async def test_an_answer_before_the_end_of_the_body_ends_the_connection() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"ab"
        await asyncio.Event().wait()

    async def handler(far: FarSide, number: int) -> None:
        await far.request(2)
        await far.say(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
        await far.left()

    async with far_side(handler) as port, pool(port) as upstream:
        assert (await upstream.send(POST % 5, body(), method="POST")).status == 413
        assert upstream.statistics().open == 0


async def test_a_body_that_fails_fails_the_request_with_its_own_error() -> None:
    left = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"ab"
        raise LookupError("the client went away")

    async def handler(far: FarSide, number: int) -> None:
        await far.request(2)
        await far.left()
        left.set()

    async with far_side(handler) as port, pool(port) as upstream:
        with pytest.raises(LookupError):
            await upstream.send(POST % 5, body(), method="POST")
        await left.wait()


async def test_a_slow_reader_stops_the_far_side() -> None:
    size = 40_000_000
    sent = asyncio.Event()

    async def handler(far: FarSide, number: int) -> None:
        await far.request()
        await far.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 100_000):
            await far.say(b"x" * 100_000)
        sent.set()
        await always_ok(far, number)

    async with far_side(handler) as port, pool(port) as upstream:
        response = await upstream.send(HEAD, None, method="GET")
        await asyncio.sleep(0.2)
        assert not sent.is_set()
        got = 0
        async for chunk in response.stream():
            got += len(chunk)
        assert got == size
        assert await (await upstream.send(HEAD, None, method="GET")).read() == b"ok"
        assert upstream.statistics().connects == 1


# --- failures after sending ---


async def test_a_lost_response_says_whether_the_connection_was_used_before() -> None:
    async def handler(far: FarSide, number: int) -> None:
        await far.request()
        if number:
            await far.say(OK)
            await far.request()

    async with far_side(handler) as port, pool(port) as upstream:
        for reused in (False, True):
            if reused:
                await (await upstream.send(HEAD, None, method="GET")).read()
            with pytest.raises(ResponseLost) as caught:
                await upstream.send(HEAD, None, method="GET")
            assert caught.value.bytes_sent
            assert caught.value.reused is reused


async def test_a_head_that_breaks_off_is_a_lost_response() -> None:
    async with far_side(answering(b"HTTP/1.1 200 OK\r\nConte")) as port, pool(port) as upstream:
        with pytest.raises(ResponseLost):
            await upstream.send(HEAD, None, method="GET")


@pytest.mark.parametrize("when", ["head", "body"])
async def test_what_is_given_up_is_closed_and_never_used_again(when: str) -> None:
    left = asyncio.Event()

    async def handler(far: FarSide, number: int) -> None:
        await far.request()
        if number:
            await far.say(OK)
            return
        if when == "body":
            await far.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        await far.left()
        left.set()

    async with far_side(handler) as port, pool(port) as upstream:
        if when == "head":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await upstream.send(HEAD, None, method="GET")
        else:
            response = await upstream.send(HEAD, None, method="GET")
            async for chunk in (stream := response.stream()):
                assert chunk == b"abc"
                break
            await stream.aclose()  # type: ignore[attr-defined]
        await left.wait()
        assert upstream.statistics().open == 0
        assert await (await upstream.send(HEAD, None, method="GET")).read() == b"ok"


async def held_request(upstream: Upstream) -> tuple["asyncio.Task[UpstreamResponse]", UpstreamConnection]:
    """A request that is under way, and its connection."""
    sending = asyncio.create_task(upstream.send(HEAD, None, method="GET"))
    await until(lambda: upstream.statistics().requests == 1)
    (link,) = upstream._connections
    return sending, link


async def answer_the_second(far: FarSide, number: int) -> None:
    assert number == 0
    await far.request()
    await far.request()
    await far.say(OK)
    await far.left()


async def test_a_cancelled_request_never_ends_the_next_one_of_its_connection() -> None:
    """The response comes in the same turn of the loop as the cancel, and the connection is taken in between."""
    async with far_side(answer_the_second) as port, pool(port) as upstream:
        first, link = await held_request(upstream)
        second = asyncio.create_task(upstream.send(HEAD, None, method="GET"))
        first.cancel()
        link.data_received(OK)
        assert await (await second).read() == b"ok"
        assert first.cancelled()


async def test_a_waiter_that_leaves_as_it_is_served_passes_its_connection_on() -> None:
    settings = PoolSettings(max_connections=1)
    async with far_side(answer_the_second) as port, pool(port, settings=settings) as upstream:
        first, link = await held_request(upstream)
        second = asyncio.create_task(upstream.send(HEAD, None, method="GET"))
        await until(lambda: upstream.statistics().waiting == 1)
        link.data_received(OK)
        second.cancel()
        await asyncio.wait([first, second])
        assert second.cancelled()
        assert upstream.statistics().idle == 1
        assert await (await upstream.send(HEAD, None, method="GET")).read() == b"ok"


async def test_fail_all_ends_what_has_no_head_and_leaves_what_has_one() -> None:
    finish = asyncio.Event()

    async def handler(far: FarSide, number: int) -> None:
        request = await far.request()
        if b"/begun" in request:
            await far.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
            await finish.wait()
            await far.say(b"k")
        await far.left()

    async with far_side(handler) as port, pool(port, settings=PoolSettings(max_connections=3)) as upstream:
        begun = await upstream.send(b"GET /begun HTTP/1.1\r\nhost: a\r\n\r\n", None, method="GET")
        hanging = [asyncio.ensure_future(upstream.send(HEAD, None, method="GET")) for _ in range(3)]
        await until(lambda: upstream.statistics().requests == 3)
        upstream.fail_all(Abandoned("eu-west is down"))
        results = await asyncio.gather(*hanging, return_exceptions=True)
        assert [type(result) for result in results] == [Abandoned] * 3
        assert sorted(result.bytes_sent for result in results if isinstance(result, Abandoned)) == [
            False,
            True,
            True,
        ]
        finish.set()
        assert await begun.read() == b"ok"


async def test_a_closed_pool_ends_everything_and_takes_nothing() -> None:
    async def handler(far: FarSide, number: int) -> None:
        await far.request()
        await far.left()

    async with far_side(handler) as port, pool(port) as upstream:
        hanging = asyncio.ensure_future(upstream.send(HEAD, None, method="GET"))
        await until(lambda: upstream.statistics().requests == 1)
        upstream.close()
        with pytest.raises(ResponseLost):
            await hanging
        with pytest.raises(RequestNotSent):
            await upstream.send(HEAD, None, method="GET")
