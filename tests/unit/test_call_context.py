"""The signed note that travels with a request to replicas, and back with the calls that they make."""

import pytest

from atoll.clock import ManualClock
from atoll.geo.place import Coordinates, Place
from atoll_gateway.call_context import LIFETIME_S, CallContext, CallContexts

DUBLIN = Place("IE", Coordinates(53.35, -6.26), "header")
CONTEXT = CallContext("quote", frozenset({"eu", "us"}), DUBLIN, again=False)


def contexts(clock: ManualClock, key: bytes = b"k" * 32) -> CallContexts:
    return CallContexts(key, clock)


@pytest.mark.parametrize(
    "context",
    [
        CONTEXT,
        CallContext("quote-eu", frozenset({"eu"}), Place(None, None, "unknown"), again=True),
    ],
)
def test_what_is_written_is_read(context: CallContext) -> None:
    clock = ManualClock()
    assert contexts(clock).read(contexts(clock).write(context)) == context


def test_a_note_that_was_changed_or_signed_by_another_is_nothing() -> None:
    clock = ManualClock()
    here = contexts(clock)
    note = here.write(CONTEXT)
    for forged in (
        note.replace(b"eu,us", b"apac,eu,us"),
        note.replace(b"first", b"again"),
        note[:-1],
        note[:-1] + b"g",
        b"",
        b"|",
        b"1|9999999999|quote|eu||first|" + b"0" * 64,
        contexts(clock, b"x" * 32).write(CONTEXT),
        "é".encode() + note,
    ):
        assert here.read(forged) is None, forged
    assert here.read(note) == CONTEXT


def test_a_note_is_believed_for_its_lifetime_and_no_longer_than_a_minute_more() -> None:
    clock = ManualClock()
    here = contexts(clock)
    note = here.write(CONTEXT)
    clock.advance(LIFETIME_S - 1)
    assert here.read(note) == CONTEXT
    clock.advance(LIFETIME_S / 10 + 2)
    assert here.read(note) is None, "even though it was kept"
