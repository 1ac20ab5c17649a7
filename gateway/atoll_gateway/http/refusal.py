"""The requests that no application gets to see, and why each is refused.

llhttp in its strict mode already refuses bare line feeds, folded or malformed fields, control characters,
repeated or odd `Content-Length`, and `Content-Length` beside `Transfer-Encoding`. This module names those
failures for the client and refuses what llhttp lets through. Three freedoms stay, since what is passed on is written
anew and so can't be read in two ways: line ends before a request, several spaces within its first line (RFC 9112,
sections 2.2 and 3), and ``RTSP/`` for ``HTTP/``, which llhttp does not tell apart.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httptools

from atoll_gateway.http.limits import Limits
from atoll_gateway.http.problem import Problem

# RFC 3986 reg-name, IPv4 and bracketed IPv6, with an optional port; no user information.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)([^#]*)")
_METHOD_LIKE = re.compile(rb"[\r\n]*[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]")
_NEVER = frozenset(
    (b"CONNECT", b"SOURCE", b"PRI")
)  # SOURCE is Icecast's and PRI no method but HTTP/2's preface
_SINGLE = frozenset((b"host", b"transfer-encoding", b"content-length", b"expect"))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is answered by the server itself, after which the connection is closed."""

    reason: str
    """Short stable word for metrics."""
    problem: Problem


class Refused(Exception):
    """Raised within the parser's callbacks to stop it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.problem.detail)
        self.refusal = refusal


def _refusal(status: int, reason: str, title: str, detail: str) -> Refusal:
    return Refusal(reason, Problem(status, reason, title, detail))


def bad_request(detail: str) -> Refusal:
    return _refusal(400, "bad-request", "The request could not be understood", detail)


HEADER_TIMEOUT = _refusal(
    408, "header-timeout", "The request head took too long", "Send the whole request head without pausing."
)
BODY_TIMEOUT = _refusal(
    408, "body-timeout", "The request body took too long", "Send the request body without long pauses."
)
BUSY = _refusal(
    503, "too-many-connections", "Too many connections", "Try again shortly, on another connection."
)
_TARGET = _refusal(414, "target-too-long", "The request target is too long", "Shorten the path or the query.")
_HEADERS = _refusal(
    431, "headers-too-large", "The request head is too large", "Send fewer or shorter header fields."
)
_BODY = _refusal(413, "body-too-large", "The request body is too large", "Send less, or in several requests.")
_OVERHEAD = bad_request(
    "The chunked body is mostly framing: send larger chunks, without extensions or trailers."
)
_EXPECT = _refusal(
    417, "expectation-failed", "The expectation cannot be met", "Only `Expect: 100-continue` is supported."
)
_METHOD = _refusal(
    501, "method-not-implemented", "The method is not implemented", "Use a standard HTTP method."
)
_CONNECT = _refusal(
    501, "method-not-implemented", "The method is not implemented", "This is not a CONNECT proxy."
)
_CODING = _refusal(
    501, "coding-not-implemented", "The transfer coding is not implemented", "Only `chunked` is supported."
)
_VERSION = _refusal(
    505, "version-not-supported", "The HTTP version is not supported", "Use HTTP/1.1 or HTTP/1.0."
)
_CODING_IN_1_0 = bad_request("Transfer-Encoding has no meaning in HTTP/1.0 (RFC 9112, section 6.1).")
_NO_HOST = bad_request("An HTTP/1.1 request needs a Host header field (RFC 9112, section 3.2).")
_BAD_HOST = bad_request("The Host header field is not a host with an optional port.")
_BAD_TARGET = bad_request("The request target must be a path, or `*` for OPTIONS, without a fragment.")
_REPEATED = bad_request("Host, Expect, Content-Length and Transfer-Encoding may each be given once.")


def too_long(target: bytes, limits: Limits) -> Refusal:
    """The refusal of a head that outgrew its limit: 414 if the target alone did, else 431."""
    return _TARGET if len(target) > limits.target_bytes else _HEADERS


def body_too_large() -> Refusal:
    return _BODY


def framing_overhead() -> Refusal:
    return _OVERHEAD


def unreadable(error: httptools.HttpParserError, data: bytes) -> Refusal:
    """Names what the parser refused in `data`."""
    text = str(error)
    if isinstance(error, httptools.HttpParserInvalidMethodError) and not _METHOD_LIKE.match(data):
        return bad_request("This is not HTTP; TLS is not spoken on this port.")
    if isinstance(error, httptools.HttpParserInvalidMethodError) or text.startswith("Invalid method"):
        return _METHOD
    if text == "Invalid HTTP version" or "PRI" in text:
        return _VERSION
    if "Request has invalid `Transfer-Encoding`" in text:
        return _CODING
    return bad_request(f"{text or 'The request is malformed'}.")


def check_host(host: bytes) -> None:
    """Raises `Refused` unless `host` is what RFC 9110, section 7.2 allows in a Host field."""
    if not _HOST.fullmatch(host):
        raise Refused(_BAD_HOST)


def check_head(
    method: bytes,
    target: bytes,
    version: str,
    headers: Sequence[tuple[bytes, bytes]],
    fields: Mapping[bytes, bytes],
    limits: Limits,
) -> None:
    """Refuses, by raising `Refused`, what llhttp lets through. `fields` is ``dict(headers)``.

    The Host's own syntax is left to `check_host`, since the value seldom changes within a connection.
    """
    count = len(headers)
    if version not in {"1.1", "1.0"}:
        raise Refused(_VERSION)
    if len(target) > limits.target_bytes:
        raise Refused(_TARGET)
    if count > limits.header_count:
        raise Refused(_HEADERS)
    if method in _NEVER:
        raise Refused(_CONNECT if method == b"CONNECT" else _METHOD)
    if len(fields) != count and len([name for name, _ in headers if name in _SINGLE]) != len(
        _SINGLE & fields.keys()
    ):
        raise Refused(_REPEATED)
    if b"host" not in fields and version == "1.1":
        raise Refused(_NO_HOST)
    if (coding := fields.get(b"transfer-encoding")) is not None:
        if version == "1.0":
            raise Refused(_CODING_IN_1_0)
        if coding.lower() != b"chunked":
            raise Refused(_CODING)
    elif (
        limits.body_bytes is not None
        and (length := fields.get(b"content-length")) is not None
        and int(length) > limits.body_bytes
    ):
        raise Refused(_BODY)
    if (expect := fields.get(b"expect")) is not None and expect.lower() != b"100-continue":
        raise Refused(_EXPECT)


def origin_form(method: bytes, target: bytes) -> tuple[bytes | None, bytes]:
    """Takes a target that is not a plain path apart into authority and path.

    The absolute form is accepted, as RFC 9112, section 3.2.2 asks of every server; its authority then
    replaces the Host field. Raises `Refused` for every other form but ``OPTIONS *``.
    """
    if target.startswith(b"/") and b"#" not in target:
        return None, target
    if target == b"*" and method == b"OPTIONS":
        return None, target
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise Refused(_BAD_TARGET)
    authority, path = match.groups()
    check_host(authority)
    return authority, path if path.startswith(b"/") else b"/" + path
