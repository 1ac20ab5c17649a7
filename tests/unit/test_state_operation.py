"""The log's operations as bytes, and digests."""

import hashlib
import traceback
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.state import operation
from atoll.state.digest import bucket_of, digest_of, hash_of
from atoll.state.envelope import Envelope
from atoll.state.kind import Kind
from atoll.state.operation import (
    Begin,
    CellWrite,
    ElementWrite,
    Heartbeat,
    Operation,
    Totals,
    UnreadableOperation,
    Write,
    decode,
    encode,
)
from atoll.state.stamp import stamp_of
from atoll.state.store import CellKey
from atoll.state.types.awset import Dots
from atoll.state.types.counter import Tally
from atoll.state.vector import NOTHING, Dot, Vector

STAMP = stamp_of(1_763_720_000_000, 7)
ACTOR = "eu.1763720000"

texts = st.text(max_size=6)
stamps = st.builds(stamp_of, st.integers(0, 2**48 - 1), st.integers(0, 2**16 - 1))
dots = st.builds(Dot, st.sampled_from(["eu.1763720000", "us.1763720001"]), st.integers(1, 2**53))
vectors = st.lists(dots).map(Vector.of)
numbers = st.integers(0, 2**53 - 1)
cell_writes = st.builds(
    CellWrite, texts, st.none() | st.binary(), numbers, st.none() | dots, st.none() | stamps
)
element_writes = st.builds(ElementWrite, texts, st.booleans(), st.lists(dots, max_size=3).map(tuple))


@st.composite
def writes(draw: st.DrawFn) -> Write:
    kind = draw(st.sampled_from(Kind))
    changes: st.SearchStrategy[Any] = {
        Kind.REGISTER: st.tuples(cell_writes),
        Kind.MAP: st.lists(cell_writes, min_size=1, max_size=3).map(tuple),
        Kind.COUNTER: st.builds(Totals, numbers, numbers),
        Kind.SET: st.lists(element_writes, min_size=1, max_size=3).map(tuple),
    }[kind]
    return Write(draw(stamps), draw(texts), kind, draw(texts), draw(changes), draw(vectors), draw(numbers))


operations = (
    writes() | st.builds(Heartbeat, stamps, vectors, numbers) | st.builds(Begin, stamps, st.none() | dots)
)


@given(operations)
def test_an_operation_is_read_as_it_was_written(written: Operation) -> None:
    assert decode(encode(written)) == written


@given(operations)
def test_a_reader_ignores_what_a_successor_adds(written: Operation) -> None:
    parts = msgpack.unpackb(encode(written), raw=True)
    parts.append({b"new": [1, 2]})
    if isinstance(written, Write):
        for change in parts[6]:
            change.append(b"new")
    assert decode(msgpack.packb(parts, use_bin_type=False)) == written


@given(operations, st.integers(2, 9))
def test_a_reader_refuses_a_version_that_it_does_not_know(written: Operation, version: int) -> None:
    parts = msgpack.unpackb(encode(written), raw=True)
    parts[0] = version
    with pytest.raises(UnreadableOperation, match=f"version {version}; this program reads version 1: update"):
        decode(msgpack.packb(parts))


def test_what_lua_packs_is_read_too() -> None:
    # Its cmsgpack writes str 8 and bin alike for any string, and an empty table as an empty array.
    parts = [1, "w", STAMP, "carts", "r", "k", [["", "", 0, b"\xff|" * 30, ""]], [], 5]
    for bin_type in (True, False):
        read = decode(msgpack.packb(parts, use_bin_type=bin_type))
        assert read == Write(STAMP, "carts", Kind.REGISTER, "k", (CellWrite("", b"\xff|" * 30),), NOTHING, 5)


def test_operations_are_laid_out_as_told() -> None:
    purge = CellWrite("f", None, replaced=Dot(ACTOR, 3), stamp=STAMP)
    write = Write(STAMP, "carts", Kind.MAP, "k", (purge, CellWrite("g", b"v", 9)), Vector({ACTOR: 4}), 5)
    assert msgpack.unpackb(encode(write)) == [
        *[1, "w", STAMP, "carts", "m", "k"],
        [["f", STAMP, 0, False, f"{ACTOR}:3"], ["g", "", 9, "v", ""]],
        {ACTOR: 4},
        5,
    ]
    include = Write(STAMP, "tags", Kind.SET, "k", (ElementWrite("e", True, (Dot(ACTOR, 3),)),), NOTHING, 5)
    assert msgpack.unpackb(encode(include))[6:] == [[["e", 1, [f"{ACTOR}:3"]]], {}, 5]
    assert msgpack.unpackb(encode(Heartbeat(STAMP, Vector({ACTOR: 4}), 5))) == [1, "h", STAMP, {ACTOR: 4}, 5]
    assert msgpack.unpackb(encode(Begin(STAMP, None))) == [1, "b", STAMP, "", 0]


@pytest.mark.parametrize(
    "parts",
    [
        b"\xc1",
        b"",
        7,
        [],
        [1],
        [1, "z", STAMP],
        [1, "w", STAMP],
        [1, "b", "not a stamp", "", 0],
        [1, "w", STAMP, "carts", "r", "k", [["", "", -1, "secret", ""]], {}, 5],
        [1, "w", STAMP, "carts", "r", "k", [["", "", 0, ["secret"], ""]], {}, 5],
        [1, "w", STAMP, "carts", "?", "k", [["", "", 0, "secret", ""]], {}, 5],
        [1, "w", STAMP, "carts", "c", "k", [["secret", 0]], {}, 5],
    ],
)
def test_what_is_damaged_is_refused_without_showing_it(parts: object) -> None:
    data = parts if isinstance(parts, bytes) else msgpack.packb(parts)
    with pytest.raises(UnreadableOperation) as caught:
        decode(data)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_the_version_is_one() -> None:
    assert operation.VERSION == 1


# --- Digests


def test_a_digest_is_of_the_bytes_that_are_told() -> None:
    at = CellKey(Kind.MAP, "käse", "f")
    told = "m:5:käse:1:f:" + STAMP + "|" + ACTOR
    expected = int(hashlib.sha1(told.encode()).hexdigest()[:10], 16)
    value = digest_of(at, Envelope(STAMP, ACTOR, 3, b"v", 9))
    assert (value.live, value.removed) == (expected, 0)
    tombstone = digest_of(at, Envelope(STAMP, ACTOR, 3, None))
    assert (tombstone.live, tombstone.removed) == (0, expected)

    at = CellKey(Kind.COUNTER, "k", ACTOR)
    assert digest_of(at, Tally(5, 2, 9)).live == hash_of(at, b"5 2 9")

    at = CellKey(Kind.SET, "k", "e")
    a, b, c = Dot(ACTOR, 1), Dot(ACTOR, 2), Dot("us.1763720000", 1)
    element = digest_of(at, Dots(frozenset({a, b}), frozenset({c})))
    assert element.live == hash_of(at, str(a).encode()) + hash_of(at, str(b).encode())
    assert element.removed == hash_of(at, f"-{c}".encode())
    assert bucket_of(Kind.SET, "k") == int(hashlib.sha1(b"s:k").hexdigest()[:2], 16)


def test_where_a_key_ends_and_a_field_begins_counts() -> None:
    assert hash_of(CellKey(Kind.MAP, "ab", "c"), b"i") != hash_of(CellKey(Kind.MAP, "a", "bc"), b"i")
