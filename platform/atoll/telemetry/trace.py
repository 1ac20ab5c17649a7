"""Names for requests: W3C trace context and request ids.

The format is that of "Trace Context", W3C Recommendation, 23 November 2021, section 3.2 (``traceparent``).
"""

import os
import re
from collections.abc import Callable
from typing import NamedTuple

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16
_SAMPLED = 0x01
_BATCH_BYTES = 16384


class TraceContext(NamedTuple):
    """A trace, and the span in it that speaks."""

    trace_id: str
    """32 hex digits, lower case, not all zero."""
    span_id: str
    """16 hex digits, lower case, not all zero."""
    sampled: bool
    """Whether the caller may have recorded its span."""

    def header(self) -> bytes:
        """The ``traceparent`` header, version 00."""
        return _header(self.trace_id, self.span_id, self.sampled)


def parse_traceparent(value: bytes) -> TraceContext | None:
    """Reads a ``traceparent`` header; None if it is invalid, and then ``tracestate`` must not be passed on.

    Later versions are read as version 00 and what they add is ignored, as the recommendation asks.
    """
    match = _TRACEPARENT.fullmatch(value)
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    trace_id, span_id = trace.decode("ascii"), span.decode("ascii")
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def accept_request_id(value: bytes | None) -> str | None:
    """A client's ``X-Request-Id`` if it may be used as it is (1 to 64 of ``A-Za-z0-9._-``), else None."""
    if value is None or _REQUEST_ID.fullmatch(value) is None:
        return None
    return value.decode("ascii")


class Ids:
    """Random ids in hex, drawn from the system in batches: one system call for hundreds of them.

    Not for secrets, and not to be used on both sides of a fork: they would draw the same ids.
    """

    __slots__ = ("_at", "_pool", "_source")

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        """`source` gives as many random bytes as it is asked for."""
        self._source = source
        self._pool = ""
        self._at = 0

    def request_id(self) -> str:
        """32 hex digits."""
        return self._draw(32)

    def trace_id(self) -> str:
        """32 hex digits, not all zero."""
        while (drawn := self._draw(32)) == _NO_TRACE:
            pass
        return drawn

    def span_id(self) -> str:
        """16 hex digits, not all zero."""
        while (drawn := self._draw(16)) == _NO_SPAN:
            pass
        return drawn

    def child(self, parent: TraceContext | None) -> TraceContext:
        """A new span: in the trace of `parent`, or without one in a new trace that nobody has sampled."""
        if parent is None:
            drawn = self._draw(48)
            if drawn.startswith(_NO_TRACE) or drawn.endswith(_NO_SPAN):
                return TraceContext(self.trace_id(), self.span_id(), sampled=False)
            return TraceContext(drawn[:32], drawn[32:], sampled=False)
        return TraceContext(parent.trace_id, self.span_id(), parent.sampled)

    def child_header(self, parent: TraceContext) -> bytes:
        """The ``traceparent`` header of a new span in the trace of `parent`; as ``child(parent).header()``."""
        return _header(parent.trace_id, self.span_id(), parent.sampled)

    def _draw(self, digits: int) -> str:
        end = self._at + digits
        if end > len(self._pool):
            self._pool = self._source(_BATCH_BYTES).hex()
            self._at, end = 0, digits
        drawn = self._pool[self._at : end]
        self._at = end
        return drawn


def _header(trace_id: str, span_id: str, sampled: bool) -> bytes:
    return f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}".encode("ascii")
