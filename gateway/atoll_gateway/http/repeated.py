"""Request heads whose fields are those of the request before: only the request line has to be read.

Clients on a kept connection send the same fields again and again. Once llhttp and the checks of `refusal.py` have
accepted a request without a body, a read that ends in the very same bytes, after a request line and nothing else, is
another such request: it can't be understood in any other way than the first one was.
"""

import re
from dataclasses import dataclass

Headers = list[tuple[bytes, bytes]]

_LINE = re.compile(rb"(GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS) (/[!\"$-~]*) HTTP/1\.1")
"""A request line in origin form. What it doesn't match is left to the parser."""
_END = b"\r\n\r\n"
_BODY = frozenset((b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"connection"))


@dataclass(frozen=True, slots=True)
class RepeatedFields:
    """The fields of an accepted request, as they came and as they were read."""

    block: bytes
    """From the end of the request line to the end of the head."""
    headers: Headers

    def line(self, data: bytes) -> "re.Match[bytes] | None":
        """The request line (method and target) if `data` is one whole request with these fields, else None."""
        return _LINE.fullmatch(data, 0, len(data) - len(self.block)) if data.endswith(self.block) else None


def learn(data: bytes, headers: Headers) -> RepeatedFields | None:
    """What to keep of a read that was accepted as one request with `headers`; None unless it was a head and no more."""
    end = data.find(b"\r\n")
    if _LINE.fullmatch(data, 0, end) is None or data.find(_END) != len(data) - len(_END):
        return None
    if any(name in _BODY for name, _ in headers):
        return None
    return RepeatedFields(data[end:], headers)
