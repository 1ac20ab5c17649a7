"""Request heads that are not parsed again, and answers that are written in one piece."""

import asyncio
from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll_gateway.http.exchange import Exchange, Receive, Scope, Send
from atoll_gateway.http.protocol import HttpProtocol
from atoll_gateway.http.repeated import RepeatedFields, learn
from atoll_gateway.http.server import HttpServer

FIELDS = b"\r\nHost: a\r\nAccept: */*\r\n\r\n"
HEADERS = [(b"host", b"a"), (b"accept", b"*/*")]


class Parsed:
    """What llhttp makes of bytes."""

    def __init__(self, data: bytes) -> None:
        self.messages: list[tuple[bytes, bytes, list[tuple[bytes, bytes]]]] = []
        self.complete = 0
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.target, self.headers = b"", []

    def on_url(self, piece: bytes) -> None:
        self.target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self.messages.append((self.parser.get_method(), self.target, self.headers))

    def on_message_complete(self) -> None:
        self.complete += 1


line_pieces = st.lists(
    st.sampled_from(
        [b"GET", b"POST", b"CONNECT", b" ", b"/", b"/a?b=%2f", b"#", b"http://b/", b"*", b"HTTP/1.1", b"HTTP/1.0",
         b"\r\n", b"\n", b"\r", b"\0", b"\xff", b"Content-Length: 5", b"X: y"]
    ),
    max_size=8,
).map(b"".join)  # fmt: skip


@given(line_pieces | st.just(b"GET /a HTTP/1.1") | st.binary(max_size=20))
def test_what_is_not_parsed_is_what_the_parser_would_have_read(line: bytes) -> None:
    known = RepeatedFields(FIELDS, HEADERS)
    match = known.line(line + FIELDS)
    if match is not None:
        parsed = Parsed(line + FIELDS)
        assert parsed.messages == [(*match.groups(), HEADERS)]
        assert parsed.complete == 1
        assert parsed.parser.get_http_version() == "1.1"


def test_a_plain_request_is_recognised() -> None:
    match = RepeatedFields(FIELDS, HEADERS).line(b"GET /a?b=c HTTP/1.1" + FIELDS)
    assert match is not None
    assert match.groups() == (b"GET", b"/a?b=c")


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n",
            [(b"host", b"a"), (b"content-length", b"2")],
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            [(b"host", b"a"), (b"connection", b"close")],
        ),
        (b"GET / HTTP/1.1" + FIELDS + b"GET / HTTP/1.1" + FIELDS, HEADERS),
        (b"GET http://b/ HTTP/1.1" + FIELDS, HEADERS),
        (b"GET / HTTP/1.0" + FIELDS, HEADERS),
        (b"\r\nGET / HTTP/1.1" + FIELDS, HEADERS),
    ],
)
def test_what_is_more_than_a_plain_head_is_not_learned(
    data: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    assert learn(data, headers) is None


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in {"peername", "sockname"} else None

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...
    def abort(self) -> None: ...
    def write_eof(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Seen:
    """A connection to a server that remembers the requests it was given."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.server = HttpServer(self)
        self.server.loop = asyncio.get_running_loop()
        self.transport = Transport()
        self.protocol = HttpProtocol(self.server)
        self.protocol.connection_made(self.transport)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        assert isinstance(send, Exchange)
        send.respond(200, [(b"x-a", b"b")], b"ok")

    async def read(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.protocol.data_received(piece)
            for _ in range(3):
                await asyncio.sleep(0)


async def test_a_repeated_head_is_the_same_request_but_for_its_line() -> None:
    seen = Seen()
    await seen.read(b"GET /a HTTP/1.1" + FIELDS, b"DELETE /b%41?c HTTP/1.1" + FIELDS)
    first, second = seen.scopes
    assert second["headers"] is first["headers"]  # so it was not parsed
    changed = {
        "method": "DELETE",
        "path": "/bA",
        "raw_path": b"/b%41",
        "query_string": b"c",
        "atoll.target": b"/b%41?c",
    }
    assert second == {**first, **changed}
    assert seen.transport.written.count(b"HTTP/1.1 200 OK\r\n") == 2


async def test_a_repeated_head_in_two_pieces_is_parsed() -> None:
    seen = Seen()
    await seen.read(
        b"GET /a HTTP/1.1" + FIELDS, b"GET /b HTT", b"P/1.1" + FIELDS, b"GET /c HTTP/1.1" + FIELDS
    )
    assert [scope["path"] for scope in seen.scopes] == ["/a", "/b", "/c"]


async def test_the_end_of_a_head_that_looks_like_a_request_teaches_nothing() -> None:
    seen = Seen()
    await seen.read(
        b"GET /a HTTP/1.1\r\nX-Hidden: ", b"GET /b HTTP/1.1" + FIELDS, b"GET /c HTTP/1.1" + FIELDS
    )
    assert [scope["path"] for scope in seen.scopes] == ["/a", "/c"]
    assert seen.scopes[0]["headers"][0] == (b"x-hidden", b"GET /b HTTP/1.1")
    assert seen.scopes[1]["headers"] == HEADERS


async def test_a_body_is_not_taken_for_a_request() -> None:
    seen = Seen()
    inner = b"GET /inner HTTP/1.1" + FIELDS
    outer = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(inner)
    received: list[bytes] = []

    async def reader(scope: Scope, receive: Receive, send: Send) -> None:
        seen.scopes.append(scope)
        message = await receive()
        while message["more_body"]:
            received.append(message["body"])
            message = await receive()
        received.append(message["body"])
        assert isinstance(send, Exchange)
        send.respond(200, [], b"")

    seen.server.application = reader
    await seen.read(b"GET /a HTTP/1.1" + FIELDS, outer, inner, b"GET /c HTTP/1.1" + FIELDS)
    assert [scope["path"] for scope in seen.scopes] == ["/a", "/b", "/c"]
    assert b"".join(received) == inner


async def test_pipelined_requests_come_after_a_repeated_one_in_order() -> None:
    seen = Seen()
    plain = b"GET /%d HTTP/1.1" + FIELDS
    for piece in (plain % 1, plain % 2, plain % 3 + plain % 4):
        seen.protocol.data_received(piece)  # before the first one is answered
    for _ in range(10):
        await asyncio.sleep(0)
    assert [scope["path"] for scope in seen.scopes] == ["/1", "/2", "/3", "/4"]


async def answer(
    request: bytes, status: int, headers: list[tuple[bytes, bytes]], body: bytes, *, whole: bool
) -> bytes:
    seen = Seen()

    async def application(_: Scope, __: Receive, send: Send) -> None:
        if whole:
            assert isinstance(send, Exchange)
            send.respond(status, headers, body)
            return
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    seen.server.application = application
    await seen.read(request)
    return seen.transport.written


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("status", [200, 204, 304, 404, 503])
@pytest.mark.parametrize("more", [[], [(b"connection", b"close")], [(b"keep-alive", b"x"), (b"x-b", b"c")]])
async def test_an_answer_in_one_piece_is_the_same_on_the_wire(
    method: bytes, version: bytes, status: int, more: list[tuple[bytes, bytes]]
) -> None:
    body = b"" if status in {204, 304} or method == b"HEAD" else b"hello"
    request = b"%b / HTTP/%b\r\nHost: a\r\n\r\n" % (method, version)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body)), *more]
    whole = await answer(request, status, headers, body, whole=True)
    assert whole == await answer(request, status, headers, body, whole=False)
    assert whole.startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-a", b"b\r\nset-cookie: c")],
        [(b"x-a", b"b\n")],
        [(b"x-a\r\nx", b"b")],
        [(b"x-a", b"\0")],
        [(b"content-length", b"99")],
    ],
)
async def test_an_answer_that_would_be_split_is_not_sent(headers: list[tuple[bytes, bytes]]) -> None:
    written = await answer(b"GET / HTTP/1.1" + FIELDS, 200, headers, b"hello", whole=True)
    assert written.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in written
