"""The verdict of the state's drill: what it lets pass, and that it fails as soon as one promise is broken."""

from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest

from atoll.simulate.strong.history import Changed, Event, Got
from atoll.simulate.strong.linearizable import Call
from atoll.state.kind import Kind
from atoll.state.strong.backend import ANY, Change, Committed, Versioned
from atoll.state.vector import Dot, Vector
from loadtests.state.contradiction import contradiction, told
from loadtests.state.faults import Fault, FaultKind, Trouble, schedule
from loadtests.state.ledger import Backwards, Ledger, Outcome, Place, Sale, Write
from loadtests.state.verdict import Final, Verdict, decide

A, B = "eu-west", "us-east"
OLD, NEW = f"{A}.1700000000", f"{A}.1700000001"
LAST = Place("local", Kind.REGISTER, "last")
FIELD = Place("local", Kind.MAP, "m", "f")
ELEMENT = Place("local", Kind.SET, "s", "e")
SEEN = Place("local", Kind.COUNTER, "seen")
ORDER = Place("kept", Kind.REGISTER, "order")
KNOWN = Vector({OLD: 10, NEW: 10})


def ledger(*writes: Write) -> Ledger:
    made = Ledger()
    for write in writes:
        made.note(write)
    return made


def wrote(place: Place, value: int | None, outcome: Outcome = Outcome.ACKED, seq: int = 1) -> Write:
    return Write(place, value, outcome, None if outcome is Outcome.UNKNOWN else Dot(OLD, seq))


def there(values: Mapping[Place, int], known: Vector = KNOWN) -> Final:
    return Final({A: values, B: values}, {A: known, B: known}, {})


def judged(made: Ledger, final: Final) -> Verdict:
    return decide(made, final, frozenset({"kept"}))


WRITTEN = ledger(
    wrote(LAST, 1), wrote(LAST, 2), wrote(FIELD, 1), wrote(ELEMENT, 1), wrote(ELEMENT, None),
    wrote(SEEN, 3), wrote(SEEN, -2), wrote(ORDER, 1),
)  # fmt: skip
WHOLE = {LAST: 2, FIELD: 1, SEEN: 1, ORDER: 1}


def test_what_is_all_there_passes() -> None:
    verdict = judged(WRITTEN, there(WHOLE))
    assert verdict.passed and not verdict.excused and not verdict.open_counters


@pytest.mark.parametrize("place", WHOLE)
def test_one_write_that_is_missing_in_one_region_fails(place: Place) -> None:
    final = there(WHOLE)
    lacking = {at: value for at, value in WHOLE.items() if at != place}
    verdict = judged(WRITTEN, replace(final, found={A: WHOLE, B: lacking}))
    assert verdict.lost == {place.namespace: 1} and B in verdict.findings[0].detail


@pytest.mark.parametrize(
    ("place", "value"), [(LAST, 1), (LAST, 3), (ELEMENT, 1), (SEEN, 2), (SEEN, 4)], ids=str
)
def test_an_older_value_or_what_was_removed_or_a_sum_that_is_off_fails(place: Place, value: int) -> None:
    assert not judged(WRITTEN, there({**WHOLE, place: value})).passed


def test_a_write_of_unknown_outcome_may_be_there_or_not() -> None:
    made = ledger(
        wrote(LAST, 1), wrote(LAST, 2, Outcome.UNKNOWN), wrote(SEEN, 5), wrote(SEEN, 1, Outcome.UNKNOWN)
    )
    for last, seen in ((1, 5), (2, 6)):
        verdict = judged(made, there({LAST: last, SEEN: seen}))
        assert verdict.passed and verdict.open_counters == 1
    assert not judged(made, there({LAST: 2, SEEN: 7})).passed
    assert not judged(made, there({SEEN: 5})).passed


def test_only_what_was_promised_to_the_wiped_disk_alone_may_be_gone() -> None:
    gone = replace(there({}, Vector({OLD: 4, NEW: 1})), wiped=frozenset({A}))
    assert judged(ledger(wrote(LAST, 1, seq=5)), gone).excused == 1
    assert judged(ledger(wrote(LAST, 1, seq=5)), gone).passed
    assert judged(ledger(wrote(ORDER, 1, Outcome.HERE, seq=5)), gone).passed
    assert not judged(ledger(wrote(ORDER, 1, seq=5)), gone).passed, "it was acknowledged as remote"
    assert not judged(ledger(wrote(LAST, 1, seq=4)), gone).passed, "another region knew it"
    assert not judged(ledger(wrote(LAST, 1, seq=5)), replace(gone, wiped=frozenset({B}))).passed
    assert not judged(ledger(wrote(SEEN, 1, seq=5)), replace(gone, found={A: {SEEN: 1}})).passed, (
        "gone is gone"
    )


@pytest.mark.parametrize("equal_after_s", [None, 5.1])
def test_replicas_that_are_not_equal_in_time_fail(equal_after_s: float | None) -> None:
    assert not judged(WRITTEN, replace(there(WHOLE), equal_after_s=equal_after_s)).passed


def test_a_session_that_goes_backwards_fails_unless_the_disk_took_what_it_saw() -> None:
    made = ledger(wrote(LAST, 1), wrote(LAST, 2, seq=5))
    made.backwards.append(Backwards("read your writes", LAST, A, 1, 2))
    assert not judged(made, there({LAST: 2})).passed
    assert judged(made, replace(there({LAST: 1}, Vector({OLD: 4})), wiped=frozenset({A}))).passed


@pytest.mark.parametrize(("left", "passed"), [(-1, False), (0, False), (7, False), (8, True), (9, False)])
def test_every_postcard_sold_is_one_less(left: int, passed: bool) -> None:
    made = Ledger(stocked={"p": 10}, sales=[Sale("p", Outcome.ACKED)] * 2)
    assert judged(made, replace(there({}), stock={"p": left})).passed is passed


def test_more_sold_than_there_were_fails() -> None:
    made = Ledger(stocked={"p": 2}, sales=[Sale("p", Outcome.ACKED)] * 3)
    assert "oversold" in judged(made, replace(there({}), stock={"p": 0})).findings[0].promise


@pytest.mark.parametrize(("seen", "passed"), [(Versioned(1, b"v"), True), (None, False)])
def test_a_strong_write_that_a_later_read_misses_fails(seen: Versioned | None, passed: bool) -> None:
    write = Changed(Change(ANY, b"v", "1"), Committed(1))
    made = Ledger(events=[Event("k", Call(write, 0.0, 1.0)), Event("k", Call(Got(seen), 2.0, 3.0))])
    assert judged(made, there({})).passed is passed


def strong(key: str, turns: int) -> list[Event]:
    """A history that is linearizable: a client writes and another one reads, turn by turn."""
    events = []
    for turn in range(turns):
        value, at = b"%d" % turn, float(turn)
        write = Changed(Change(ANY, value, f"op-{turn}"), Committed(turn + 1))
        events.append(Event(key, Call(write, at, at + 0.2)))
        events.append(Event(key, Call(Got(Versioned(turn + 1, value)), at + 0.3, at + 0.4)))
    return events


def test_a_contradiction_is_told_by_the_operations_that_make_it_alone() -> None:
    events = strong("k", 40)
    stale = Event("k", Call(Got(Versioned(20, b"19")), 21.1, 21.2))  # version 21 was read at 20.3
    found = contradiction([*events, stale, *strong("k", 0)])
    assert stale in found and len(found) <= 4, told(found, 0.0)
    assert not decide(Ledger(events=found), there({}), frozenset()).passed
    verdict = judged(Ledger(events=[*events, stale]), there({}))
    assert "19.000 to 19.200" not in verdict.findings[0].detail and "read" in verdict.findings[0].detail


def test_findings_tell_the_faults_around_them() -> None:
    fault = Trouble(Fault(FaultKind.CUT_PAIR, A, B, 1.0, 1.0), 95.0, 96.0)
    made = ledger(wrote(LAST, 1), wrote(LAST, 2))
    made.backwards.append(
        Backwards("read your writes", LAST, A, 1, 2, 100.0, Vector({OLD: 2}), Vector({OLD: 1}))
    )
    (finding,) = judged(made, replace(there({LAST: 2}), troubles=(fault,))).findings
    for part in (f"-5.0 to -4.0 s: cut-pair in {A}", f"Vector({OLD}:2)", f"Vector({OLD}:1)", "2 acked as"):
        assert part in finding.detail
    (finding,) = judged(
        made, replace(there({LAST: 2}), troubles=(replace(fault, began=1.0, ended=2.0),))
    ).findings
    assert finding.detail.endswith("none")


def test_a_seed_has_the_same_faults_again_and_every_kind_comes() -> None:
    first, again = (schedule(Random(7), (A, B, "ap-south")) for _ in range(2))
    faults = [next(first) for _ in range(8)]
    assert faults == [next(again) for _ in range(8)]
    assert {fault.kind for fault in faults} == set(FaultKind) - {FaultKind.WIPE}
    assert all(fault.region != fault.other for fault in faults)
