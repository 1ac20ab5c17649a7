"""HTTP as clients and replicas may bend it, through whole gateways: raw sockets in, a strict parser at the far end.

Whatever comes in is refused, or passed on as exactly the requests that RFC 9112 sees in it; nothing that one client or
replica sends gets into the exchange of another.
"""

import asyncio
import contextlib
import json
import random
import re
import types
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import h11
import httptools
import pytest
import pytest_asyncio
from tests.integration.gateways import world
from tests.integration.patient import patience
from tests.integration.strict import PLAIN, WAYS, Place, Strict, at, strict
from tests.unit.test_http_server import REFUSED

from atoll_gateway.http import protocol

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", autouse=True)
def patient_pools() -> Iterator[None]:
    """Clients, gateways and replica share one loop: under load it takes seconds to a connection that nobody refuses."""
    with patience():
        yield


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    patient = PLAIN.replace('timeout = "3s"', 'timeout = "30s"')  # nothing here is about deadlines
    async with strict(tmp_path_factory.mktemp("world"), patient) as made:
        yield made


@pytest.fixture(autouse=True)
def forget(request: pytest.FixtureRequest) -> None:
    if "place" in request.fixturenames:
        replica: Strict = request.getfixturevalue("place").replica
        replica.seen.clear()
        replica.errors.clear()
        replica.says = None


HOST = b"Host: a\r\n"
GET = b"GET /echo/x HTTP/1.1\r\n" + HOST
POST = b"POST /echo/x HTTP/1.1\r\n" + HOST
LAST = b"GET /echo/last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
SMUGGLED = b"GET /echo/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
assert len(SMUGGLED) == 40

# --- requests that no replica gets to see ---

ALSO_REFUSED = {
    "coding hides a request from a length": (
        400,
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n28\r\n" + SMUGGLED + b"\r\n0\r\n\r\n",
    ),
    "length hides a request from a coding": (
        400,
        POST + b"Content-Length: 45\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    ),
    "folded coding": (400, POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    "empty coding": (400, POST + b"Transfer-Encoding:\r\nContent-Length: 3\r\n\r\nabc"),
    "quoted coding": (501, POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n'),
    "coding with a parameter": (501, POST + b"Transfer-Encoding: chunked;x=1\r\n\r\n0\r\n\r\n"),
    "coding, then identity": (400, POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    "space before the colon of the coding": (400, POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    "space before the colon of the length": (400, POST + b"Content-Length : 3\r\n\r\nabc"),
    "two lengths that differ": (400, POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    "length with a space": (400, POST + b"Content-Length: 3 3\r\n\r\nabc"),
    "negative length": (400, POST + b"Content-Length: -3\r\n\r\nabc"),
    "chunk extension with a carriage return": (
        400,
        POST + b"Transfer-Encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n",
    ),
    "quoted line feed in a chunk extension": (
        400,
        POST + b'Transfer-Encoding: chunked\r\n\r\n3;a="\n"\r\nabc\r\n0\r\n\r\n',
    ),
    "chunk without a size": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n;a\r\nabc\r\n0\r\n\r\n"),
    "chunk size with an underscore": (
        400,
        POST + b"Transfer-Encoding: chunked\r\n\r\n1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    ),
    "chunk that does not end": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n"),
    "trailer that frames": (
        400,
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 40\r\n\r\n" + SMUGGLED,
    ),
    "folded trailer": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\r\n b\r\n\r\n"),
    "carriage returns for line ends": (400, b"GET /echo/x HTTP/1.1\rHost: a\r\r"),
    "space before the method": (400, b" GET /echo/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "space in the target": (400, b"GET /echo/x y HTTP/1.1\r\nHost: a\r\n\r\n"),
    "space after the version": (400, b"GET /echo/x HTTP/1.1 \r\nHost: a\r\n\r\n"),
    "HTTP/1.10": (400, b"GET /echo/x HTTP/1.10\r\nHost: a\r\n\r\n"),
    "lower case version": (400, b"GET /echo/x http/1.1\r\nHost: a\r\n\r\n"),
    "Icecast": (501, b"SOURCE /echo/x ICE/1.0\r\nHost: a\r\n\r\n"),
    "method of Icecast": (501, b"SOURCE /echo/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "delete character in a value": (400, GET + b"X: a\x7fb\r\n\r\n"),
    "open bracket in the Host": (400, b"GET /echo/x HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    "fragment of an absolute target": (400, b"GET http://a/echo/x#y HTTP/1.1\r\nHost: a\r\n\r\n"),
    "empty expectation": (417, POST + b"Expect:\r\nContent-Length: 3\r\n\r\nabc"),
    "expectations in a list": (417, POST + b"Expect: 100-continue, x\r\nContent-Length: 3\r\n\r\nabc"),
    "body that the service does not take": (413, POST + b"Content-Length: 409601\r\n\r\n"),
    "path of no service": (404, b"GET /other HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    "service in capitals": (404, b"GET /ECHO/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    "service with an encoded letter": (
        404,
        b"GET /%65cho/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ),
    "service with an encoded slash": (404, b"GET /echo%2fx HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    "service behind two slashes": (404, b"GET //echo/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    "service behind a dot": (404, b"GET /./echo/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    "service behind a way back": (
        404,
        b"GET /other/../echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ),
    "service with a backslash": (404, b"GET /echo\\x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    "service with a parameter": (404, b"GET /echo;x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    "asterisk of OPTIONS": (404, b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
}
WITHOUT_GATEWAY_LIMIT = {"declared body too large"}
"""The listener of clients takes any length: how long a body may be is the service's to say."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", [*sorted(REFUSED.keys() - WITHOUT_GATEWAY_LIMIT), *ALSO_REFUSED])
async def test_refused_by_the_gateway(place: Place, case: str, way: str) -> None:
    expected, data = ALSO_REFUSED.get(case) or REFUSED[case]
    answer = await place.ask(way, data if case.endswith("without end") else data + LAST)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % expected), answer
    assert json.loads(body)["status"] == expected, "one answer, and then the connection has ended"
    assert place.replica.seen == [] and place.replica.errors == []
    await place.is_sound(way)


# --- requests that pass as they are ---

CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
X = (b"GET", b"/echo/x", b"")
PASSED: dict[str, tuple[bytes, list[tuple[bytes, bytes, bytes]]]] = {
    "way back in the path": (
        b"GET /echo/../other HTTP/1.1\r\n" + HOST + b"\r\n",
        [(b"GET", b"/echo/../other", b"")],
    ),
    "encoded path": (
        b"GET /echo/%2e%2e%2fother%00%0d%0a//a/./b;p=1/%zz% HTTP/1.1\r\n" + HOST + b"\r\n",
        [(b"GET", b"/echo/%2e%2e%2fother%00%0d%0a//a/./b;p=1/%zz%", b"")],
    ),
    "query": (
        b"GET /echo/x?a=/../&b=%26?#c".removesuffix(b"#c") + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        [(b"GET", b"/echo/x?a=/../&b=%26?", b"")],
    ),
    "empty query": (b"GET /echo/x? HTTP/1.1\r\n" + HOST + b"\r\n", [(b"GET", b"/echo/x?", b"")]),
    "absolute target": (
        b"GET HTTP://b:80/echo/../x?y HTTP/1.1\r\n" + HOST + b"\r\n",
        [(b"GET", b"/echo/../x?y", b"")],
    ),
    "body that looks like a request": (
        POST + b"Content-Length: 40\r\n\r\n" + SMUGGLED,
        [(b"POST", b"/echo/x", SMUGGLED)],
    ),
    "chunk that looks like a request": (
        CHUNKED + b"28\r\n" + SMUGGLED + b"\r\n0\r\n\r\n",
        [(b"POST", b"/echo/x", SMUGGLED)],
    ),
    "GET with a body": (GET + b"Content-Length: 40\r\n\r\n" + SMUGGLED, [(b"GET", b"/echo/x", SMUGGLED)]),
    "body that is longer than declared": (
        POST + b"Content-Length: 3\r\n\r\nabc" + SMUGGLED,
        [(b"POST", b"/echo/x", b"abc"), (b"GET", b"/echo/smuggled", b"")],
    ),
    "extensions and trailers": (
        CHUNKED + b'3;a=b;c="d"\r\nabc\r\n000\r\nX-Forwarded-For: 1.2.3.4\r\nX: y\r\n\r\n',
        [(b"POST", b"/echo/x", b"abc")],
    ),
    "sizes with zeros": (
        CHUNKED + b"0" * 50 + b"3\r\nabc\r\n000\r\n\r\n",
        [(b"POST", b"/echo/x", b"abc")],
    ),
    "length with zeros": (POST + b"Content-Length: 003\r\n\r\nabc", [(b"POST", b"/echo/x", b"abc")]),
    "upgrade to HTTP/2": (
        POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
        [(b"POST", b"/echo/x", b"abc")],
    ),
    "empty lines before it": (b"\r\n\r\n" + GET + b"\r\n", [X]),
    "several spaces": (b"GET  /echo/x  HTTP/1.1\r\n" + HOST + b"\r\n", [X]),
    "HTTP/1.0": (b"GET /echo/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", [X]),
    "expectation": (
        POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        [(b"POST", b"/echo/x", b"abc")],
    ),
    "expectation without a body": (GET + b"Expect: 100-continue\r\n\r\n", [X]),
    "pipeline": (
        GET
        + b"\r\n"
        + CHUNKED
        + b"1\r\na\r\n0\r\n\r\n"
        + POST
        + b"Content-Length: 1\r\n\r\nb"
        + GET
        + b"\r\n",
        [X, (b"POST", b"/echo/x", b"a"), (b"POST", b"/echo/x", b"b"), X],
    ),
    "high bytes in a value": (GET + b"X: \xff\x80\r\n\r\n", [X]),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize("case", PASSED)
async def test_passed_by_the_gateway(place: Place, case: str, way: str, in_pieces: bool) -> None:
    data, expected = PASSED[case]
    data += LAST
    reader, writer = await place.open(way)
    step = 7 if in_pieces else len(data)
    for start in range(0, len(data), step):
        writer.write(data[start : start + step])
        if in_pieces:
            await asyncio.sleep(0)
    answer = await reader.read()
    writer.close()
    last = (b"GET", b"/echo/last", b"")
    assert [seen.what for seen in place.replica.seen] == [*expected, last]
    assert re.findall(rb"seen (\S+)\n", answer) == [target for _, target, _ in [*expected, last]]
    for seen in place.replica.seen:
        lengths = [value for name, value in seen.headers if name == b"content-length"]
        codings = [value for name, value in seen.headers if name == b"transfer-encoding"]
        assert len(lengths) + len(codings) <= 1
        assert seen.field(b"upgrade") is None and seen.field(b"expect") is None
        assert seen.field(b"host")
    assert place.replica.errors == []
    await place.is_sound(way)


@pytest.mark.parametrize("way", WAYS)
async def test_a_kept_connection_reads_each_request_anew(place: Place, way: str) -> None:
    """The same fields again and again, and then almost the same."""
    fields = b"\r\nHost: a\r\nCookie: x\r\n\r\n"
    reader, writer = await place.open(way)
    targets = [b"/echo/1", b"/echo/2?q=%20", b"/echo/../3", b"/echo/4", b"/echo"]
    for target in targets:
        writer.write(b"GET " + target + b" HTTP/1.1" + fields)
        assert (await reader.readuntil(b"seen " + target + b"\n")).startswith(b"HTTP/1.1 200 ")
    assert [seen.target for seen in place.replica.seen] == targets
    writer.close()
    for line, status in (
        (b"GET /echo/x y HTTP/1.1", 400),
        (b"GET /echo/x#y HTTP/1.1", 400),
        (b"GET /echo/\xff HTTP/1.1", 400),
        (b"GET /echo/x\n HTTP/1.1", 400),
        (b"GET /echo/x HTTP/1.1\r\nContent-Length : 40", 400),
        (b"GET /echo/x HTTP/1.1\r\nHost: a", 400),
        (b"BREW /echo/x HTTP/1.1", 501),
        (b"GET /echo/x HTTP/1.2", 505),
        (b"GET /ECHO/x HTTP/1.1", 404),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1", 414),
    ):
        place.replica.seen.clear()
        reader, writer = await place.open(way)
        writer.write(b"GET /echo/1 HTTP/1.1" + fields)
        await reader.readuntil(b"seen /echo/1\n")
        writer.write(line + fields)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 %d " % status), line
        assert [seen.target for seen in place.replica.seen] == [b"/echo/1"]
        writer.close()


async def test_an_absolute_target_names_the_host(place: Place) -> None:
    await place.ask("entry", b"GET http://b:81/echo/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert place.replica.seen[0].field(b"host") == b"b:81"


@pytest.mark.parametrize("way", WAYS)
async def test_as_many_and_as_large_fields_as_are_let_in_get_through(place: Place, way: str) -> None:
    fields = b"".join(b"X-%d: y\r\n" % number for number in range(97))
    answer = await place.ask(way, GET + fields + b"Connection: close\r\nZ: " + b"z" * 14_000 + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert sum(name.startswith(b"x-") for name, _ in place.replica.seen[0].headers) >= 97


async def test_the_service_of_a_path_is_the_same_for_gateway_and_replica(place: Place) -> None:
    """Whatever reaches the replica begins, byte for byte, with the prefix by which the gateway chose it."""
    chance = random.Random(6)
    pieces = (
        b"echo",
        b"ECHO",
        b"%65cho",
        b"..",
        b".",
        b"",
        b"%2e%2e",
        b"%2f",
        b"%00",
        b"-",
        b"\\",
        b";",
        b"x",
        b"echo-eu",
    )
    paths = [b"/" + b"/".join(chance.choices(pieces, k=chance.randint(1, 4))) for _ in range(200)]
    for path in paths:
        place.replica.seen.clear()
        answer = await place.ask("own", b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        if path == b"/echo" or path.startswith(b"/echo/"):
            assert [seen.target for seen in place.replica.seen] == [path]
        else:
            assert place.replica.seen == [] and not answer.startswith(b"HTTP/1.1 200 ")


# --- headers that are not the client's to send ---

FORGED = (
    b"Atoll-Hop", b"Atoll-Zones", b"Atoll-Place", b"Atoll-Deadline-Ms", b"Atoll-Explain", b"Atoll-Client",
    b"Atoll-Context", b"Atoll-Load",
    b"Atoll-Timeout", b"Atoll-Region", b"Atoll-Attempts", b"Atoll-Refused", b"Atoll-Decision",
    b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Forwarded-Port", b"X-Real-IP", b"Forwarded",
    b"Via", b"X-Request-Timeout-Seconds", b"X-Request-Disconnect-Disabled", b"Serve_Multiplexed_Model_Id",
    b"X-Session-Id", b"Keep-Alive", b"Proxy-Connection", b"TE", b"Trailer", b"Proxy-Authorization",
)  # fmt: skip
"""Each is sent with one value that no gateway would write."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("spelling", ["as it is", "lower", "upper", "underscores", "hyphens", "twice"])
async def test_forged_headers_reach_no_replica(place: Place, way: str, spelling: str) -> None:
    forms: dict[str, Callable[[bytes], bytes]] = {
        "as it is": bytes,
        "lower": bytes.lower,
        "upper": bytes.upper,
        "underscores": lambda name: name.replace(b"-", b"_"),
        "hyphens": lambda name: name.replace(b"_", b"-"),
        "twice": bytes,
    }
    value = b"9s"  # a sound Atoll-Timeout
    lines = b"".join(forms[spelling](name) + b": " + value + b"\r\n" for name in FORGED)
    if spelling == "twice":
        lines += lines
    place.replica.seen.clear()
    answer = await place.ask(
        way,
        GET + lines + b"Connection: close\r\n\r\n",
        source="127.0.0.2",  # no trusted proxy
    )
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    (seen,) = place.replica.seen
    assert [name for name, told in seen.headers if told == value] == []
    assert seen.field(b"x-forwarded-for") == b"127.0.0.2"
    assert b"atoll-decision" not in answer


@pytest.mark.parametrize("way", WAYS)
async def test_connection_takes_out_what_is_for_this_hop_and_nothing_that_others_need(
    place: Place, way: str
) -> None:
    data = (
        POST + b"Connection: content-length, host, X-Request-Id, traceparent, idempotency-key, close\r\n"
        b"Connection: x-forwarded-for, Atoll-Deadline-Ms, x-own, x-request-timeout-seconds, Authorization\r\n"
        b"Content-Length: 3\r\nX-Own: 1\r\nIdempotency-Key: k\r\nAuthorization: Bearer t\r\n"
        b"X-Request-Id: mine\r\n\r\nabc"
    )
    answer = await place.ask(way, data)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    (seen,) = place.replica.seen
    assert seen.what == (b"POST", b"/echo/x", b"abc")
    assert seen.field(b"x-own") is None
    for name, value in (
        (b"host", b"a"),
        (b"content-length", b"3"),
        (b"idempotency-key", b"k"),
        (b"authorization", b"Bearer t"),
        (b"x-request-id", b"mine"),
        (b"x-forwarded-for", b"127.0.0.1"),
    ):
        assert seen.field(name) == value
    assert seen.field(b"traceparent") and seen.field(b"x-request-timeout-seconds")


# --- answers of a replica that does not keep to the rules ---

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: 2\r\n\r\nok"
UNREADABLE = {
    "length and coding": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "coding and length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two equal lengths": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\nokPOISON!",
    "list of lengths": OK + b"Content-Length: 2, 2\r\n\r\nok",
    "negative length": OK + b"Content-Length: -2\r\n\r\nok",
    "endless length": OK + b"Content-Length: 99999999999999999999999\r\n\r\nok",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "bare line feed in a field": OK + b"X: a\nContent-Length: 2\r\n\r\nok",
    "folded field": OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "NUL in a value": OK + b"X: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "no name": OK + b": x\r\nContent-Length: 2\r\n\r\nok",
    "bad name": OK + b"X(y): x\r\nContent-Length: 2\r\n\r\nok",
    "space before the colon": OK + b"Content-Length : 2\r\n\r\nok",
    "another coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "coding twice": OK
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "identity": OK + b"Transfer-Encoding: identity\r\n\r\nok",
    "head too large": OK + b"X: " + b"x" * 600_000 + b"\r\nContent-Length: 2\r\n\r\nok",
    "flood of informational heads": b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000 + WHOLE,
    "upgrade that nobody asked for": b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    + WHOLE,
    "upgrade to nothing": b"HTTP/1.1 101 S\r\n\r\n" + WHOLE,
    "status 99": b"HTTP/1.1 99 X\r\nContent-Length: 2\r\n\r\nok",
    "status 600": b"HTTP/1.1 600 X\r\nContent-Length: 2\r\n\r\nok",
    "status 000": b"HTTP/1.1 000 X\r\nContent-Length: 2\r\n\r\nok",
    "status 2000": b"HTTP/1.1 2000 X\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/0.9": b"ok",
    "nothing": b"",
    "half a head": OK + b"Content-Le",
    "short body": OK + b"Content-Length: 20\r\n\r\nok",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", UNREADABLE)
async def test_an_answer_that_cannot_be_read_is_a_502(place: Place, case: str, way: str) -> None:
    place.replica.says = UNREADABLE[case]
    answer = await place.ask(way, POST + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 502 "), answer[:200]
    assert len(place.replica.seen) == 1, "a POST is not sent twice"
    await place.is_sound(way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("method", "says", "start", "body"),
    [
        (b"GET", WHOLE + b"POISON", b"HTTP/1.1 200 ", b"ok"),
        (b"GET", WHOLE + OK + b"Content-Length: 6\r\n\r\nPOISON", b"HTTP/1.1 200 ", b"ok"),
        (b"HEAD", WHOLE, b"HTTP/1.1 200 ", b""),
        (b"HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"HTTP/1.1 200 ", b""),
        (b"GET", b"HTTP/1.1 204 N\r\nContent-Length: 6\r\n\r\nPOISON", b"HTTP/1.1 204 ", b""),
        (b"GET", b"HTTP/1.1 304 N\r\nContent-Length: 6\r\n\r\nPOISON", b"HTTP/1.1 304 ", b""),
        (b"GET", b"HTTP/1.1 304 N\r\n\r\nPOISON", b"HTTP/1.1 304 ", b""),
        (b"GET", b"HTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.1 100 C\r\n\r\n" + WHOLE, b"HTTP/1.1 200 ", b"ok"),
        (b"GET", OK + b"\r\nok", b"HTTP/1.1 200 ", b"ok"),
        (b"GET", OK + b"Connection: content-length\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 200 ", b"ok"),
        (
            b"GET",
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            b"HTTP/1.1 200 ",
            b"ok",
        ),
    ],
)
async def test_what_a_replica_sends_too_much_reaches_nobody(
    place: Place, way: str, method: bytes, says: bytes, start: bytes, body: bytes
) -> None:
    place.replica.says = says
    answer = await place.ask(way, method + b" /echo/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(start), answer
    assert content in {body, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)}, answer
    assert b"POISON" not in answer
    if head.startswith(b"HTTP/1.1 204 "):
        assert b"content-length" not in head and b"transfer-encoding" not in head
    await place.is_sound(way)


@pytest.mark.parametrize("way", WAYS)
async def test_a_chunked_answer_that_breaks_off_does_not_look_whole(place: Place, way: str) -> None:
    place.replica.says = OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nok"
    answer = await place.ask(way, POST + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
    assert not answer.endswith(b"0\r\n\r\n")
    await place.is_sound(way)


@pytest.mark.parametrize("way", WAYS)
async def test_what_an_idle_connection_says_is_nobodys_answer(tmp_path: Path, way: str) -> None:
    """A replica that speaks without being asked, once its answer is complete and the connection is kept."""
    connections = 0

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(OK + b"Content-Length: 2\r\n\r\nok")
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(OK + b"Content-Length: 6\r\n\r\nPOISON")

    async with world(tmp_path, topology=PLAIN) as made, at(made, late):
        place = Place(made, Strict())
        for _ in range(3):
            answer = await place.ask(way, GET + b"Connection: close\r\n\r\n")
            assert answer.endswith(b"\r\n\r\nok"), answer
            await asyncio.sleep(0.1)
    assert connections == 3


# --- requests bent at random ---

VALID = (
    GET + b"\r\n",
    GET + b"X-Own: a\r\nCookie: b=c\r\n\r\n",
    POST + b"Content-Length: 11\r\n\r\nhello world",
    POST + b"Content-Length: 40\r\n\r\n" + SMUGGLED,
    CHUNKED + b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n",
    CHUNKED + b"28\r\n" + SMUGGLED + b"\r\n0\r\nX-Trailer: a\r\n\r\n",
    POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"HEAD /echo/x?y=%2F HTTP/1.1\r\nHost: a:80\r\nConnection: keep-alive\r\n\r\n",
    b"PUT http://b/echo/x HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n",
    GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
    POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    b"DELETE /echo/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
)
FIRST = b"GET /echo/first HTTP/1.1\r\nHost: a\r\n\r\n"
BENDS = (
    *(bytes((byte,)) for byte in b'\r\n\0 \t\x0b:;,"0159aAfF-+_/\\?#%\x7f\xff'),
    b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\n ", b"0\r\n\r\n", b"HTTP/1.1", b"HTTP/1.0", b"chunked", b"identity", b"close",
    b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Content-Length : 3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding:\x0bchunked\r\n", b"Connection: close\r\n",
    b"Connection: content-length\r\n", b"Expect: x\r\n", b"Host: b\r\n", b"Upgrade: websocket\r\n", SMUGGLED,
)  # fmt: skip
SOUND = b"GET /echo/sound HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
ROUNDS = 8
"""At least as many as a bent connection carries requests."""
ANSWERS = {b"100", b"200", b"400", b"404", b"408", b"413", b"414", b"417", b"431", b"501", b"505"}


def bent(chance: random.Random) -> bytes:
    """One to three sound requests in a row with up to four wounds."""
    data = b"".join(chance.choices(VALID, k=chance.choice((1, 1, 2, 3))))
    for _ in range(chance.randint(0, 4)):
        start = chance.randrange(len(data) + 1)
        lines = data.split(b"\r\n")
        line = chance.randrange(len(lines))
        match chance.randrange(6):
            case 0:
                data = data[:start] + chance.choice(BENDS) + data[start:]
            case 1:
                data = data[:start] + data[start + chance.choice((1, 1, 2, 9)) :]
            case 2:
                data = data[:start] + chance.choice(BENDS) + data[start + 1 :]
            case 3:
                data = b"\r\n".join([*lines[: line + 1], *lines[line:]])
            case 4:
                data = b"\r\n".join([*lines[:line], *lines[line + 1 :]])
            case _:
                ends = chance.choice((b"\n", b"\r", b"\r\n ", b" \r\n", b"\r\r\n"))
                data = b"\r\n".join(lines[:line]) + ends + b"\r\n".join(lines[line:])
    return data


def as_strictly_read(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """The whole requests that h11 sees in `data`, up to the first thing that is none.

    Freedoms that RFC 9112 gives a server (sections 2.2, 3 and 9.3) and h11 does not take are given to it.
    """
    found: list[tuple[bytes, bytes, bytes]] = []
    while True:
        data = re.sub(rb"\A[\r\n]*(\S+) +(\S+) +(HTTP/\d\.\d)(?=\r\n)", rb"\1 \2 \3", data)
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(data)
        request, body = None, b""
        with contextlib.suppress(h11.RemoteProtocolError):
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    return found
        if request is None or not isinstance(event, h11.EndOfMessage):
            return found
        target = re.sub(rb"(?i)\Ahttps?://[^/?]*", b"", request.target)
        found.append((request.method, target, bytes(body)))
        lines = [value.lower() for name, value in request.headers if name == b"connection"]
        options = {option.strip() for line in lines for option in line.split(b",")}
        kept = request.http_version == b"1.0" and b"keep-alive" in options and b"close" not in options
        if connection.their_state is h11.MUST_CLOSE and not kept:
            return found
        data = connection.trailing_data[0]


def is_part_of(some: list[tuple[bytes, bytes, bytes]], of: list[tuple[bytes, bytes, bytes]]) -> bool:
    """Whether all of `some` occur in `of`, in that order."""
    rest = iter(of)
    return all(item in rest for item in some)


async def bend(place: Place, seed: int, count: int) -> tuple[int, int]:
    """Sends bent requests, each from an address of its own; gives how many reached the replica and how many did not.

    A connection on which the gateway waits for more does not end. It is given up once `ROUNDS` sound requests have
    been answered one after the other on the same way: by then its own have been, however slow the machine is.
    """
    cases = {f"127.1.{n >> 8}.{n & 255}": bent(random.Random(f"{seed} {n}")) for n in range(count)}
    kept = set(random.Random(seed).sample(list(cases), count // 3))
    answers: dict[str, bytes] = {}
    turns = asyncio.Semaphore(64)
    waiting: dict[str, dict[asyncio.Timeout, int]] = {way: {} for way in WAYS}
    all_sent = asyncio.Event()

    async def measure(way: str) -> None:
        while not all_sent.is_set():
            await place.ask(way, SOUND)
            for limit in waiting[way]:
                waiting[way][limit] += 1
                if waiting[way][limit] == ROUNDS:
                    limit.reschedule(0)

    async def send(source: str, data: bytes) -> None:
        chance = random.Random(source)
        async with turns:
            way = chance.choice(tuple(WAYS))
            reader, writer = await place.open(way, source)
            with contextlib.closing(writer), contextlib.suppress(ConnectionError, TimeoutError):
                answers[source] = b""
                if source in kept:  # the gateway has then read these fields before
                    writer.write(FIRST)
                    async with asyncio.timeout(60):
                        answers[source] = await reader.readuntil(b"\r\n\r\n")
                        answers[source] += await reader.readuntil(b"\n")
                    writer.write(data)
                    await asyncio.sleep(0.01)
                    data = b""
                cut = chance.randrange(len(data) + 1) if chance.random() < 0.5 else len(data)
                writer.write(data[:cut])
                await asyncio.sleep(0)
                writer.write(data[cut:] + LAST)
                async with asyncio.timeout(None) as limit:
                    waiting[way][limit] = 0
                    try:
                        while piece := await reader.read(65536):
                            answers[source] += piece
                    finally:
                        del waiting[way][limit]

    async with asyncio.TaskGroup() as group:
        for way in WAYS:
            group.create_task(measure(way))
        await asyncio.gather(*(send(source, data) for source, data in cases.items()))
        all_sent.set()
    await place.is_sound("own")
    await place.is_sound("entry")
    reached = refused = 0
    seen_of: dict[str, list[tuple[bytes, bytes, bytes]]] = {}
    for seen in place.replica.seen:
        seen_of.setdefault((seen.field(b"x-forwarded-for") or b"").decode(), []).append(seen.what)
    assert seen_of.keys() <= cases.keys()
    for source, data in cases.items():
        arrived = seen_of.get(source, [])
        sent = (FIRST if source in kept else b"") + data + LAST
        told = f"seed {seed}, {source}: {sent!r}\nseen: {arrived}\nanswer: {answers[source]!r}"
        assert is_part_of(arrived, as_strictly_read(sent)), told
        assert set(re.findall(rb"HTTP/1\.1 (\d{3}) ", answers[source])) <= ANSWERS, told
        echoed = re.findall(rb"seen (\S+)\n", answers[source])
        assert set(echoed) <= {target for _, target, _ in arrived}, told
        reached += len(arrived)
        refused += re.search(rb"HTTP/1\.1 [45]", answers[source]) is not None
    assert place.replica.errors == [], place.replica.errors
    return reached, refused


@pytest.mark.timeout(600)
async def test_no_bent_request_becomes_more_than_a_strict_parser_sees_in_it(place: Place) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    reached, refused = await bend(place, seed, 3000)
    print(f"seed {seed}: {reached} requests reached the replica, {refused} of 3000 connections met a refusal")
    assert reached > 1000 and refused > 1000


@pytest.mark.timeout(600)
async def test_a_lenient_parser_would_be_found_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def lenient(protocol: object) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(protocol)
        parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_chunked_length=True,
            lenient_transfer_encoding=True,
            lenient_optional_cr_before_lf=True,
            lenient_optional_lf_after_cr=True,
            lenient_optional_crlf_after_chunk=True,
            lenient_spaces_after_chunk_size=True,
        )
        return parser

    bent_parser = types.SimpleNamespace(**vars(httptools) | {"HttpRequestParser": lenient})
    monkeypatch.setattr(protocol, "httptools", bent_parser)
    with pytest.raises(AssertionError, match="seen:"):
        await bend(place, 1, 1000)
