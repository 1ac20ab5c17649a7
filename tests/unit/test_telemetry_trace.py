"""Trace context and request ids."""

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.telemetry.trace import Ids, TraceContext, accept_request_id, parse_traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def test_a_valid_header_is_read_and_written_as_it_was() -> None:
    header = f"00-{TRACE}-{SPAN}-01".encode()
    context = parse_traceparent(header)
    assert context == TraceContext(TRACE, SPAN, sampled=True)
    assert context.header() == header


def test_unknown_flags_are_not_passed_on() -> None:
    context = parse_traceparent(f"00-{TRACE}-{SPAN}-fe".encode())
    assert context is not None
    assert context.header().endswith(b"-00")


def test_a_later_version_is_read_as_version_00() -> None:
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-01-what-comes-later".encode()) == TraceContext(
        TRACE, SPAN, sampled=True
    )


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
    ],
)
def test_anything_else_starts_a_new_trace(header: str) -> None:
    assert parse_traceparent(header.encode()) is None


@given(st.binary(max_size=80))
def test_no_header_breaks_the_reader(header: bytes) -> None:
    context = parse_traceparent(header)
    assert context is None or parse_traceparent(context.header()) is not None


def test_a_child_keeps_the_trace_and_has_a_span_of_its_own() -> None:
    parent = TraceContext(TRACE, SPAN, sampled=True)
    child = Ids().child(parent)
    assert (child.trace_id, child.sampled) == (TRACE, True)
    assert child.span_id != SPAN


def test_without_a_parent_there_is_a_new_trace() -> None:
    context = Ids().child(None)
    assert parse_traceparent(context.header()) == context
    assert not context.sampled


def test_ids_never_repeat_across_batches() -> None:
    ids = Ids()
    drawn = [draw() for _ in range(3000) for draw in (ids.request_id, ids.span_id)]
    assert len(set(drawn)) == len(drawn)
    assert {len(one) for one in drawn} == {16, 32}


def test_ids_of_zeros_are_drawn_again() -> None:
    batches = itertools.chain((bytes(4096),), itertools.repeat(b"\x01" * 4096))
    ids = Ids(lambda _: next(batches))
    assert ids.trace_id() == "01" * 16
    ids = Ids(lambda size: bytes(16) + os.urandom(size - 16))
    assert ids.span_id() != "0" * 16


@pytest.mark.parametrize("value", [b"a", b"A-b_c.9", b"x" * 64])
def test_a_clients_request_id_is_kept_if_it_is_plain(value: bytes) -> None:
    assert accept_request_id(value) == value.decode()


@pytest.mark.parametrize("value", [None, b"", b"x" * 65, b"a b", b"a\n", b"a\r\nb: c", b"\xc3\xa9", b'"'])
def test_any_other_is_not(value: bytes | None) -> None:
    assert accept_request_id(value) is None
