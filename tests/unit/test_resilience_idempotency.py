"""Keys, fingerprints and the life of a record."""

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.clock import ManualClock
from atoll.resilience.idempotency import (
    KEY_BYTES,
    Answer,
    Claim,
    Claimed,
    Records,
    Settlement,
    Standing,
    fingerprint,
    parse_key,
    read_answer,
    record_name,
    write_answer,
)


def claim(
    token: str = "a/1", print_: str = "f", record: str = "k", lease: int = 1000, ttl: int = 60_000
) -> Claim:
    return Claim("cart", record, print_, token, lease, ttl)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b'"8e03978e-40d5-43dd-bc93-6894a57f9324"', b"8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (b"8e03978e-40d5-43dd-bc93-6894a57f9324", b"8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (b"a", b"a"),
        (b"order:7/x+y=z_[1]~", b"order:7/x+y=z_[1]~"),
        (b'"two words, and a comma;"', b"two words, and a comma;"),
        (rb'"a \"b\" \\c"', rb'a "b" \c'),
        (b"x" * KEY_BYTES, b"x" * KEY_BYTES),
    ],
)
def test_quoted_and_bare_keys_are_read(value: bytes, key: bytes) -> None:
    assert parse_key(value) == key


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"",
            b'""',
            b'"',
            b'"a',
            b'a"',
            b'a"b',
            b"a b",
            b"a,b",
            b"a;b",
            b"\xc3\xa9",
            b'"\xc3\xa9"',
            b'"a\\n"',
        ),
        *(
            b'"a"; x=1',
            b"a\x00",
            b"a\x7f",
            b"\ta",
            b"x" * (KEY_BYTES + 1),
            b'"' + b"x" * (KEY_BYTES + 1) + b'"',
        ),
    ],
)
def test_what_is_no_key_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"such as|at most 255"):
        parse_key(value)


@given(st.binary(max_size=300))
def test_any_value_is_read_or_refused(value: bytes) -> None:
    try:
        key = parse_key(value)
    except ValueError:
        return
    assert 1 <= len(key) <= KEY_BYTES
    assert all(0x20 <= octet < 0x7F for octet in key)


def test_fingerprints_differ_where_anything_differs() -> None:
    parts = [
        ("POST", b"/a", b"text/plain", b"x"),
        ("PATCH", b"/a", b"text/plain", b"x"),
        ("POST", b"/a?b", b"text/plain", b"x"),
        ("POST", b"/a", None, b"x"),
        ("POST", b"/a", b"text/plain", b"y"),
        ("POST", b"/at", b"ext/plain", b"x"),
        ("POST", b"/a", b"text/plainx", b""),
    ]
    assert len({fingerprint(*part) for part in parts}) == len(parts)
    assert fingerprint(*parts[0]) == fingerprint(*parts[0])


def test_a_record_belongs_to_a_service_and_to_whoever_shows_the_same_authorization() -> None:
    names = [
        record_name(*of)
        for of in itertools.product(("cart", "checkout"), (None, b"Bearer a", b"Bearer b"), (b"1", b"2"))
    ]
    assert len(set(names)) == 12
    assert all(len(name) == 64 for name in names)


@given(
    st.integers(200, 599),
    st.lists(st.tuples(st.binary(), st.binary())),
    st.none() | st.text(),
    st.none() | st.binary(),
)
def test_answers_are_read_as_they_were_written(
    status: int, headers: list[tuple[bytes, bytes]], region: str | None, body: bytes | None
) -> None:
    read = read_answer(write_answer(Answer(status, headers, region, body)))
    assert read == Answer(status, headers if body is not None else [], region, body)


@pytest.mark.parametrize("content", [b"", b"{}\n", b"[]\n", b"1", b'{"status":"x"}\nbody', b"\xff\n"])
def test_what_is_no_answer_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_answer(content)


def test_a_reader_ignores_what_a_later_version_adds() -> None:
    written = write_answer(Answer(201, [(b"a", b"b")], "eu-west", b"x\ny")).replace(
        b"{", b'{"later":{"x":1},', 1
    )
    assert read_answer(written) == Answer(201, [(b"a", b"b")], "eu-west", b"x\ny")


def test_the_life_of_a_record() -> None:
    clock = ManualClock()
    records = Records(clock)
    for _ in range(2):
        assert records.claim(claim()) == Claimed(Standing.CLAIMED)
    assert records.claim(claim("b/1")) == Claimed(Standing.IN_FLIGHT)
    assert records.claim(claim("b/1", "other")) == Claimed(Standing.REUSED)
    assert not records.settle(claim("b/1"), Settlement.COMPLETE, b"no")
    assert records.settle(claim(), Settlement.COMPLETE, b"yes")
    assert records.claim(claim("b/1")) == Claimed(Standing.COMPLETE, b"yes")
    assert records.claim(claim("b/1", "other")) == Claimed(Standing.REUSED)
    clock.advance(60)
    assert records.claim(claim("b/1")) == Claimed(Standing.CLAIMED)


def test_a_lease_that_ends_leaves_an_unknown_outcome_which_a_late_answer_mends() -> None:
    clock = ManualClock()
    records = Records(clock)
    records.claim(claim())
    clock.advance(1)
    assert records.claim(claim("b/1")) == Claimed(Standing.UNKNOWN)
    assert records.settle(claim(), Settlement.COMPLETE, b"late")
    assert records.claim(claim("b/1")) == Claimed(Standing.COMPLETE, b"late")
    assert records.settle(claim(), Settlement.UNKNOWN)
    assert records.claim(claim("b/1")) == Claimed(Standing.COMPLETE, b"late")


def test_a_released_key_is_free_and_out_of_the_old_claims_reach() -> None:
    records = Records(ManualClock())
    records.claim(claim())
    assert records.settle(claim(), Settlement.RELEASE)
    assert not records.settle(claim(), Settlement.RELEASE)
    assert records.claim(claim("b/1")) == Claimed(Standing.CLAIMED)
    assert not records.settle(claim(), Settlement.COMPLETE, b"from the grave")
    assert records.claim(claim("c/1")) == Claimed(Standing.IN_FLIGHT)


def test_a_record_outlives_its_lease_however_short_its_time_to_live() -> None:
    clock = ManualClock()
    records = Records(clock)
    records.claim(claim(lease=5000, ttl=1))
    clock.advance(4.9)
    assert records.claim(claim("b/1")) == Claimed(Standing.IN_FLIGHT)


def executions(*, leaky: bool) -> int:
    """The most often that any of 300 requests was executed, under duplicates, crashes, refusals and late writes.

    `leaky` frees a key when its lease has ended, as a plain lock would.
    """
    chance = random.Random(7)
    print("seed 7")
    executed: Counter[str] = Counter()
    clock = ManualClock()
    records = Records(clock)
    tokens = itertools.count()
    late: list[Claim] = []
    for _ in range(6000):
        clock.advance(chance.random() * 0.2)
        order = claim(str(next(tokens)), record=str(chance.randrange(300)), ttl=10**9)
        found = records.claim(order)
        if leaky and found.standing is Standing.UNKNOWN:
            found = Claimed(Standing.CLAIMED)
        if late and chance.random() < 0.3:
            records.settle(
                late.pop(chance.randrange(len(late))), chance.choice(list(Settlement)[::2]), b"late"
            )
        if found.standing is not Standing.CLAIMED:
            continue
        match chance.choice(["answered", "refused", "crashed", "late"]):
            case "refused":
                records.settle(order, Settlement.RELEASE)
                continue
            case "answered":
                records.settle(order, Settlement.COMPLETE, b"yes")
            case "late":
                late.append(order)
        executed[order.record] += 1
    assert len(executed) > 250
    return max(executed.values())


def test_nothing_is_executed_twice_whatever_fails() -> None:
    assert executions(leaky=False) == 1


def test_a_lock_that_frees_itself_would_execute_twice() -> None:
    assert executions(leaky=True) > 1
