"""The joins' laws, and what each type promises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.state import raw
from atoll.state.envelope import Envelope, decode, encode
from atoll.state.kind import Kind
from atoll.state.stamp import stamp_of
from atoll.state.types import awset, cell, counter
from atoll.state.types.awset import Dots
from atoll.state.types.counter import LIMIT, Tally
from atoll.state.vector import NOTHING, Dot, Vector

ACTORS = ("eu.1700000000", "eu.1700000001", "eu-west.1700000000")

dots = st.builds(Dot, st.sampled_from(ACTORS), st.integers(1, 4))
vectors = st.dictionaries(st.sampled_from(ACTORS), st.integers(0, 4)).map(Vector)
stamps = st.builds(stamp_of, st.integers(0, 2), st.integers(0, 2))
envelopes = st.builds(
    Envelope,
    stamps,
    st.sampled_from(ACTORS),
    st.integers(1, 3),
    st.none() | st.binary(max_size=8),
    st.sampled_from([0, 1, 1_700_000_000_000]),
).map(lambda one: one if one.payload is not None else Envelope(one.stamp, one.actor, one.seq, None))


# --- Vectors


@given(vectors, vectors, vectors)
def test_vectors_are_a_lattice(a: Vector, b: Vector, c: Vector) -> None:
    assert a.join(b) == b.join(a) and a.join(b).join(c) == a.join(b.join(c)) and a.join(a) == a
    assert a.meet(b) == b.meet(a) and a.meet(b).meet(c) == a.meet(b.meet(c))
    assert a.meet(b) <= a <= a.join(b) and hash(a.join(b)) == hash(b.join(a))
    assert (a <= b) == (a.join(b) == b) == (a.meet(b) == a) == (not b.missing(a))


@given(vectors, dots)
def test_a_vector_covers_a_dot_once_it_is_raised_to_it(vector: Vector, dot: Dot) -> None:
    assert vector.raised(*dot).covers(dot) and vector <= vector.raised(*dot)
    assert vector.covers(dot) == (vector.raised(*dot) == vector)
    assert Dot.parse(str(dot)) == dot and Vector.of([dot]).covers(dot)


def test_the_stream_goes_on_at_the_newest_epoch_that_is_known() -> None:
    vector = Vector({"eu.1700000009": 3, "eu.1700000010": 1, "eu-west.1700000011": 8})
    assert vector.latest("eu") == Dot("eu.1700000010", 1) and vector.latest("us") is None


@pytest.mark.parametrize("text", ["", "eu.1", ":1", "eu.1:", "eu.1:-2", "eu.1:²"])
def test_what_is_no_dot_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a dot"):
        Dot.parse(text)


# --- Cells


@given(
    stamps,
    st.sampled_from(ACTORS),
    st.integers(1, 2**53),
    st.none() | st.binary(),
    st.integers(0, 2**45),
)
def test_an_envelope_keeps_any_bytes(
    stamp: str, actor: str, seq: int, payload: bytes | None, expiry_ms: int
) -> None:
    envelope = Envelope(stamp, actor, seq, payload, 0 if payload is None else expiry_ms)
    assert decode(encode(envelope)) == envelope
    assert encode(envelope).startswith(envelope.header())
    head = decode(envelope.header())
    assert (head.order, head.dot, head.expiry_ms) == (envelope.order, envelope.dot, envelope.expiry_ms)


def test_envelopes_are_laid_out_as_told() -> None:
    stamp = stamp_of(1_763_720_000_000, 7)
    assert encode(Envelope(stamp, "eu.1763720000", 3, b"a|b")) == b"019aa5e772000007|eu.1763720000|3||a|b"
    assert encode(Envelope(stamp, "eu.1763720000", 3, b"", 5)) == b"019aa5e772000007|eu.1763720000|3|5|"
    assert encode(Envelope(stamp, "eu.1763720000", 3, None)) == b"019aa5e772000007|eu.1763720000|3|x|"


@pytest.mark.parametrize(
    "data", [b"", b"secret", b"x|a|1||secret", b"0" * 16 + b"|a|b||secret", b"0" * 16 + b"|a|1|z|secret"]
)
def test_what_is_no_envelope_is_refused_without_showing_it(data: bytes) -> None:
    with pytest.raises(ValueError, match="envelope") as caught:
        decode(data)
    assert "secret" not in str(caught.value)


def test_a_value_is_hidden_from_its_expiry_on() -> None:
    envelope = Envelope(stamp_of(1), ACTORS[0], 1, b"v", expiry_ms=100)
    assert (envelope.visible(99), envelope.visible(100)) == (b"v", None)
    assert Envelope(stamp_of(1), ACTORS[0], 1, b"v").visible(2**48) == b"v"


@given(envelopes, envelopes, envelopes)
def test_cells_join_in_any_order(a: Envelope, b: Envelope, c: Envelope) -> None:
    def winner(*order: Envelope) -> object:
        best = order[0]
        for one in order[1:]:
            best = cell.join(best, one)
        return best.order

    assert winner(a, b) == winner(b, a) and winner(a, a) == a.order
    assert winner(a, b, c) == winner(c, b, a) == cell.join(a, cell.join(b, c)).order


def test_a_purge_with_the_values_own_stamp_beats_the_value_and_nothing_later() -> None:
    value = Envelope(stamp_of(5), ACTORS[0], 4, b"v", 10)
    for purge in (Envelope(value.stamp, ACTORS[0], 9, None), Envelope(value.stamp, ACTORS[1], 2, None)):
        assert cell.join(value, purge) is purge and cell.join(purge, value) is purge
        later = Envelope(stamp_of(5, 1), ACTORS[0], 5, b"w")
        assert cell.join(purge, later) is later
        elsewhere = Envelope(
            value.stamp, "us.1700000000", 1, b"u"
        )  # at the same stamp it won over the value already
        assert cell.join(purge, elsewhere) is elsewhere


# --- Counters


@given(st.lists(st.integers(-50, 50)), st.data())
def test_a_tally_counts_each_operation_once_in_any_order(amounts: list[int], data: st.DataObject) -> None:
    tally, history = Tally(), [Tally()]
    for seq, amount in enumerate(amounts, start=1):
        history.append(tally := tally.added(amount, seq))
    shuffled = data.draw(st.permutations(history + history[:3]))
    joined = Tally()
    for one in shuffled:
        joined = counter.join(joined, one)
    assert joined == tally and counter.total([joined]) == sum(amounts)
    assert counter.decode(counter.encode(tally)) == tally


def test_a_tally_stays_within_exact_numbers() -> None:
    assert Tally().added(LIMIT, 1).plus == LIMIT
    with pytest.raises(OverflowError, match=str(LIMIT)):
        Tally(plus=LIMIT).added(1, 2)
    with pytest.raises(OverflowError, match=str(LIMIT)):
        Tally(minus=LIMIT).added(-1, 2)


# --- Sets: states that some history of one element can lead to


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Dots, Vector]]:
    """Three replicas of one element, each an actor; they add, remove, and hear each other's operations in order."""
    states = [(awset.EMPTY, NOTHING)] * 3
    logs: list[list[tuple[Dot | None, frozenset[Dot]]]] = [[], [], []]
    for _ in range(draw(st.integers(0, 12))):
        at, action, other = draw(
            st.tuples(
                st.integers(0, 2), st.sampled_from(["add", "remove", "hear", "hear"]), st.integers(0, 2)
            )
        )
        element, known = states[at]
        if action == "hear":
            origin = ACTORS[other]
            seq = known.seq(origin) + 1
            if other != at and seq <= len(logs[other]):
                added, removed = logs[other][seq - 1]
                states[at] = awset.operate(element, known, added, removed), known.raised(origin, seq)
            continue
        dot = Dot(ACTORS[at], len(logs[at]) + 1)
        operation = (dot if action == "add" else None, element.live)
        logs[at].append(operation)
        states[at] = awset.operate(element, known, *operation), known.raised(*dot)
    return states


def join(a: tuple[Dots, Vector], b: tuple[Dots, Vector]) -> tuple[Dots, Vector]:
    joined = a[1].join(b[1])
    return awset.collect(awset.join(a[0], a[1], b[0], b[1]), joined), joined


@given(histories())
def test_sets_join_in_any_order(states: list[tuple[Dots, Vector]]) -> None:
    a, b, c = states
    assert join(a, b) == join(b, a)
    assert join(join(a, b), c) == join(a, join(b, c))
    assert join(a, a) == (awset.collect(a[0], a[1]), a[1])
    assert awset.decode(awset.encode(a[0])) == a[0]
    assert raw.decode(Kind.SET, raw.encode(a[0])) == a[0]


def test_an_addition_wins_over_a_removal_that_has_not_seen_it() -> None:
    first, second = Dot(ACTORS[0], 1), Dot(ACTORS[2], 1)
    both = awset.operate(awset.operate(awset.EMPTY, NOTHING, first, ()), Vector.of([first]), second, ())
    assert awset.operate(both, Vector.of([first, second]), None, [first]) == Dots(frozenset({second}))


def test_a_removal_that_comes_before_its_addition_is_remembered_until_the_addition_is_known() -> None:
    dot = Dot(ACTORS[0], 1)
    early = awset.operate(awset.EMPTY, NOTHING, None, [dot])
    assert early.removed == {dot}
    late = awset.operate(early, NOTHING, dot, ())
    assert not late.live
    assert awset.collect(late, NOTHING) == late and not awset.collect(late, Vector.of([dot]))


def test_settling_removes_what_the_peer_knows_and_lacks_and_nothing_else() -> None:
    old, new = Dot(ACTORS[0], 1), Dot(ACTORS[0], 2)
    ours = Dots(frozenset({old, new}))
    assert awset.settle(ours, awset.EMPTY, Vector.of([old])) == Dots(frozenset({new}))
    assert awset.settle(ours, Dots(frozenset({old})), Vector.of([old])) == ours
