"""Which headers pass, which are dropped, and how a head is written.

Hop-by-hop headers are those of RFC 9110 section 7.6.1. What only Atoll or a trusted proxy may say is taken out of
every client's request before anything looks at it.
"""

import re
from collections.abc import Iterable
from itertools import product

from atoll_gateway.message import Headers

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"expect",
    }
)

FORWARDING = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-real-ip",
        b"via",
    }
)

PEER = frozenset(
    {
        b"atoll-hop",
        b"atoll-zones",
        b"atoll-place",
        b"atoll-deadline-ms",
        b"atoll-explain",
        b"atoll-client",
        b"atoll-context",
    }
)
"""What one gateway tells another; from anybody else it means nothing."""

SERVE_CONTROL = frozenset(
    {
        b"x-request-timeout-seconds",
        b"x-request-disconnect-disabled",
        b"serve_multiplexed_model_id",
        b"x-session-id",
    }
)
"""Headers that steer Ray Serve's own proxy and replicas; a client must not."""

REWRITTEN = frozenset({b"x-request-id", b"traceparent", b"atoll-timeout", b"content-length"})
"""Read by the edge and written anew for every attempt."""

ATOLL_RESPONSE = frozenset(
    {
        b"atoll-region",
        b"atoll-attempts",
        b"atoll-refused",
        b"atoll-load",
        b"atoll-decision",
        b"x-request-id",
        b"idempotency-replayed",
        b"idempotency-kept",
    }
)
"""Written by the gateway that talks to the client; a replica cannot claim them."""

DROPPED_FROM_RESPONSES = HOP_BY_HOP | ATOLL_RESPONSE


def _spellings(names: Iterable[bytes]) -> frozenset[bytes]:
    """Names with every mix of hyphens and underscores, which are one and the same to CGI and WSGI (RFC 3875)."""
    return frozenset(
        b"".join(b"".join(pair) for pair in zip(words, (*marks, b""), strict=True))
        for words in (re.split(rb"[-_]", name) for name in names)
        for marks in product((b"-", b"_"), repeat=len(words) - 1)
    )


DROPPED_FROM_REQUESTS = _spellings(
    HOP_BY_HOP | FORWARDING | PEER | SERVE_CONTROL | REWRITTEN | ATOLL_RESPONSE
)

FOR_ALL = frozenset(
    {
        b"host",
        b"atoll-session",
        b"atoll-criticality",
        b"idempotency-key",
        b"authorization",
        b"cookie",
        b"origin",
        b"cache-control",
        b"content-encoding",
        b"content-type",
    }
)
"""Meant for every recipient, so naming them in ``Connection`` does not take them out (RFC 9110, section 7.6.1): the
replica has to see what the gateway went by.
"""


_PLAIN_OPTIONS = frozenset({b"close", b"keep-alive"})


def connection_options(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Header names that ``Connection`` declares to be for this hop only."""
    return frozenset(
        option.strip().lower()
        for name, value in headers
        if name == b"connection"
        for option in value.split(b",")
        if option.strip()
    )


def end_to_end(headers: Headers, dropped: frozenset[bytes]) -> Headers:
    """The headers that go on to the next hop, in order."""
    passed = [pair for pair in headers if pair[0] not in dropped]
    if len(passed) == len(headers):
        return passed  # `connection` is among the dropped, so there is none
    options = connection_options(headers) - _PLAIN_OPTIONS - FOR_ALL
    return [pair for pair in passed if pair[0] not in options] if options else passed


def write_lines(headers: Headers) -> bytes:
    """Headers as they stand on the wire."""
    return b"".join([part for name, value in headers for part in (name, b": ", value, b"\r\n")])


def first(headers: Headers, name: bytes) -> bytes | None:
    """The first value of a header, if it is there. `name` is in lower case."""
    for key, value in headers:
        if key == name:
            return value
    return None


def write_head(method: str, target: bytes, *groups: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A request head in HTTP/1.1, ready to be sent."""
    parts = [method.encode("ascii"), b" ", target, b" HTTP/1.1\r\n"]
    for group in groups:
        for name, value in group:
            parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)
