"""The cores of strong registers: ballots, acceptor, value, proposer, queue, membership, homes."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.broken_strong import ReusesBallot

from atoll.channel import Wire
from atoll.clock import ManualClock
from atoll.state.strong.acceptor import EMPTY, Acceptor, accept, prepare
from atoll.state.strong.backend import (
    ABSENT,
    ANY,
    DELETE,
    Change,
    Committed,
    Conflict,
    StrongBackend,
    Unavailable,
    Unknown,
    Versioned,
)
from atoll.state.strong.ballot import Ballot, Ballots
from atoll.state.strong.home import Homes, order
from atoll.state.strong.membership import (
    Configuration,
    Member,
    Membership,
    MembershipError,
    found,
    parse,
    parse_membership,
)
from atoll.state.strong.messages import (
    Accepted,
    Configure,
    Describe,
    Description,
    Promised,
    Read,
    Refusal,
    Refused,
    Register,
    Rejected,
    Request,
    Stale,
)
from atoll.state.strong.proposer import Beaten, Chosen, Exchange, NoMajority, Outdated, Proposer, Transition
from atoll.state.strong.queue import BATCH, TURN_S, Queue
from atoll.state.strong.register import REMEMBERED, Value, change, changes, decode
from atoll.state.strong.wire import decode_change, encode_change

APPLE = Register("stock", "apple")
BALLOTS = st.builds(
    Ballot,
    st.integers(1, 2**63 - 1),
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1),
)


def ballot(counter: int, proposer: str = "p") -> Ballot:
    return Ballot(counter, proposer)


def members(count: int) -> tuple[Member, ...]:
    return tuple(Member(f"r{number}", f"i{number}") for number in range(count))


def in_force(count: int = 3) -> Configuration:
    return found("stock", members(count)).confirmed()


# --- Ballots


@given(BALLOTS, BALLOTS)
def test_the_text_of_ballots_has_their_order(one: Ballot, other: Ballot) -> None:
    assert (one < other) == (one.text.encode() < other.text.encode())
    assert Ballot.parse(one.text) == one


def test_a_ballot_is_never_given_twice_and_is_above_all_seen() -> None:
    ballots = Ballots("p.1")
    first = ballots.next()
    ballots.saw(ballot(41, "q"))
    assert first < ballot(41, "q") < ballots.next() < ballots.next()


@pytest.mark.parametrize(
    "text", ["", "1", "x" * 16 + ".p", f"{1:016x}p", f"{0:016x}.p", f"{1:016x}.", f"{1:016x}.a b"]
)
def test_what_is_no_ballot_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"ballot|proposer|hex|base 16"):
        Ballot.parse(text)


# --- Acceptor


def test_a_promise_keeps_lower_ballots_out() -> None:
    record, reply = prepare(EMPTY, ballot(2))
    assert reply == Promised(None, None)
    assert prepare(record, ballot(1)) == (record, Rejected(ballot(2)))
    assert accept(record, ballot(1), b"v", None) == (record, Rejected(ballot(2)))
    record, reply = prepare(record, ballot(3))
    assert reply == Promised(None, None)


def test_a_repeated_accept_is_answered_as_the_first_though_it_brought_a_higher_promise() -> None:
    record, first = accept(EMPTY, ballot(1), b"v", ballot(2))
    assert first == Accepted(ballot(2))
    assert accept(record, ballot(1), b"v", ballot(2)) == (record, first)
    assert accept(record, ballot(1), b"w", ballot(2)) == (record, Rejected(ballot(2)))


def test_an_acceptor_answers_only_to_its_identity_and_to_no_older_configuration() -> None:
    acceptor = Acceptor()

    def ask(epoch: int, member: str, body: Configure | Read) -> object:
        return acceptor.answer(Request("stock", epoch, member, body))

    read = Read(APPLE)
    assert ask(1, "i0", read) == Refused(Refusal.NO_IDENTITY)
    assert acceptor.open("i0") == "i0" == acceptor.open("another")
    assert ask(1, "i9", read) == Refused(Refusal.OTHER_MEMBER)
    assert ask(1, "i0", read) == Refused(Refusal.NO_CONFIGURATION)
    ask(3, "i0", Configure(b"third"))
    assert ask(2, "i0", read) == Stale(b"third") == ask(2, "i0", Configure(b"second"))
    assert ask(3, "i0", Configure(b"other")) == Refused(Refusal.DISPUTED)
    assert acceptor.answer(Request("stock", 0, "", Describe())) == Description("i0", 3, b"third")


# --- Values


def test_changes_of_a_value_and_their_outcomes() -> None:
    value, outcomes = changes(
        Value(),
        [
            Change(ABSENT, b"a", "1"),
            Change(ABSENT, b"b", "2"),
            Change(1, b"c", "3"),
            Change(1, b"d", "4"),
            Change(ANY, DELETE, "5"),
            Change(3, b"e", "6"),
        ],
    )
    assert outcomes == [
        Committed(1),
        Conflict(Versioned(1, b"a")),
        Committed(2),
        Conflict(Versioned(2, b"c")),
        Committed(3),
        Conflict(None),
    ]
    assert value.payload is None and value.version == 3
    assert decode(value.encode()) == value
    again, outcome = change(value, Change(ABSENT, b"a", "1"))
    assert again is value and outcome == Committed(1)


def test_a_value_remembers_the_newest_operations_alone() -> None:
    value, _ = changes(Value(), [Change(ANY, b"v", f"op-{n}") for n in range(REMEMBERED + 5)])
    assert [done.operation_id for done in value.operations] == [f"op-{n}" for n in range(5, REMEMBERED + 5)]


def test_a_change_that_can_never_be_made_takes_no_place_among_the_remembered() -> None:
    value, _ = changes(Value(), [Change(ANY, b"a", "1"), Change(ANY, b"b", "2")])
    late = [Change(1, b"x", f"late-{n}") for n in range(REMEMBERED)]
    after, outcomes = changes(value, late)
    assert after is value and outcomes == [Conflict(Versioned(2, b"b"))] * REMEMBERED
    assert change(after, Change(ANY, b"a", "1"))[1] == Committed(1), "so the first one may still be repeated"
    # One that a later version might let through is kept from it: its client was told that it failed.
    for early in (Change(3, b"x", "early"), Change(ABSENT, b"x", "early")):
        refused, outcome = change(value, early)
        assert outcome == Conflict(Versioned(2, b"b"))
        made, _ = changes(
            refused, [Change(ANY, b"c", "3"), Change(2 if early.expect == 3 else ANY, DELETE, "4")]
        )
        assert change(made, early)[1] == Conflict(made.versioned)
    deleted, _ = change(value, Change(ANY, DELETE, "3"))
    refused, outcome = change(deleted, Change(3, b"x", "4"))
    assert refused is deleted and outcome == Conflict(None)


def test_a_value_of_a_later_format_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="update this region first"):
        decode(b"\x94\x02\x01\xc0\x90")


# --- Proposer


class Trio:
    """Three acceptors at hand, and exchanges carried out with some of them."""

    def __init__(self) -> None:
        self.configuration = in_force()
        self.acceptors = {member: Acceptor() for member in self.configuration.members}
        for member, acceptor in self.acceptors.items():
            acceptor.open(member.identity)
            acceptor.answer(Request("stock", 2, member.identity, Configure(self.configuration.encode())))

    def carry(self, exchange: Exchange, *reached: int) -> int:
        """Round trips until it is over; requests to others get lost."""
        rounds = 0
        while exchange.result is None:
            rounds += 1
            phase = exchange.phase
            for index, (member, request) in enumerate(exchange.requests()):
                if exchange.phase is not phase or exchange.result is not None:
                    # The majority has answered: the others hear of it all the same.
                    if index in reached:
                        self.acceptors[member].answer(request)
                elif index in reached:
                    exchange.answered(member, self.acceptors[member].answer(request))
                else:
                    exchange.lost(member, "cut")
        return rounds

    def until_chosen(self, proposer: Proposer, transition: Transition, *reached: int) -> bytes | None:
        for _ in range(5):
            attempt = proposer.attempt(self.configuration, transition)
            self.carry(attempt, *reached)
            if isinstance(attempt.result, Chosen):
                return attempt.result.value
        raise AssertionError("no success in five attempts")


def to(text: bytes) -> Transition:
    return lambda _: text


def test_a_change_takes_two_rounds_cold_and_one_warm_and_a_read_one() -> None:
    trio = Trio()
    proposer = Proposer(APPLE, Ballots("p.1"))
    assert trio.carry(proposer.attempt(trio.configuration, to(b"v1")), 0, 1, 2) == 2
    assert proposer.warm
    assert trio.carry(proposer.attempt(trio.configuration, to(b"v2")), 0, 1, 2) == 1
    reading = Proposer(APPLE, Ballots("q.1")).read(trio.configuration)
    assert trio.carry(reading, 1, 2) == 1
    assert reading.result == Chosen(b"v2")


def test_a_minority_can_do_nothing_and_says_who_is_missing() -> None:
    trio = Trio()
    attempt = Proposer(APPLE, Ballots("p.1")).attempt(trio.configuration, to(b"v"))
    trio.carry(attempt, 0)
    assert attempt.result == NoMajority(("r0",), {"r1": "cut", "r2": "cut"})
    assert not attempt.proposed


def test_after_any_failure_comes_a_new_ballot() -> None:
    trio = Trio()
    proposer = Proposer(APPLE, Ballots("p.1"))
    trio.carry(proposer.attempt(trio.configuration, to(b"v1")), 0, 1, 2)
    used = set()
    for reached in ([0], [], [0]):
        attempt = proposer.attempt(trio.configuration, to(b"v"))
        used.add(attempt._ballot)
        trio.carry(attempt, *reached)
        assert not proposer.warm
    assert len(used) == 3
    # One that was begun and forgotten has used its ballot as well.
    trio.carry(proposer.attempt(trio.configuration, to(b"v2")), 0, 1, 2)
    proposer.attempt(trio.configuration, to(b"v3"))
    assert not proposer.warm


def test_a_defeat_is_learned_from() -> None:
    trio = Trio()
    one, other = Proposer(APPLE, Ballots("p.1")), Proposer(APPLE, Ballots("q.1"))
    trio.carry(one.attempt(trio.configuration, to(b"v1")), 0, 1, 2)
    trio.carry(one.attempt(trio.configuration, to(b"v2")), 0, 1, 2)
    attempt = other.attempt(trio.configuration, to(b"v3"))
    trio.carry(attempt, 0, 1, 2)
    assert isinstance(attempt.result, Beaten)
    assert trio.carry(other.attempt(trio.configuration, to(b"v3")), 0, 1, 2) == 2
    beaten = one.attempt(trio.configuration, to(b"v4"))
    trio.carry(beaten, 0, 1, 2)
    assert isinstance(beaten.result, Beaten) and beaten.proposed


@pytest.mark.parametrize(("kind", "survives"), [(Proposer, True), (ReusesBallot, False)])
def test_the_trap_of_a_ballot_that_is_used_again(kind: type[Proposer], survives: bool) -> None:
    """gryadka's loss of an acknowledged write: v1 reaches A alone; v2 is acknowledged by B and C; then {A, B} is read.

    Under one ballot for both A's v1 is as good as B's v2.
    """
    trio = Trio()
    proposer = kind(APPLE, Ballots("p.1"))
    trio.carry(proposer.attempt(trio.configuration, to(b"v0")), 0, 1, 2)
    first = proposer.attempt(trio.configuration, to(b"v1"))
    trio.carry(first, 0)
    assert isinstance(first.result, NoMajority) and first.proposed
    assert trio.until_chosen(proposer, to(b"v2"), 1, 2) == b"v2", "acknowledged"
    other = Proposer(APPLE, Ballots("q.1"))
    seen = trio.until_chosen(other, lambda value: value or b"", 0, 1)
    assert seen == (b"v2" if survives else b"v1")


def test_a_newer_configuration_ends_an_exchange_and_a_promise_of_the_old_one_is_not_used() -> None:
    trio = Trio()
    proposer = Proposer(APPLE, Ballots("p.1"))
    trio.carry(proposer.attempt(trio.configuration, to(b"v1")), 0, 1, 2)
    newer = trio.configuration.joined(Member("r3", "i3"))
    first = trio.configuration.members[0]
    trio.acceptors[first].answer(Request("stock", 3, first.identity, Configure(newer.encode())))
    attempt = proposer.attempt(trio.configuration, to(b"v2"))
    trio.carry(attempt, 0, 1, 2)
    assert attempt.result == Outdated(newer)
    trio.carry(proposer.attempt(newer, to(b"v2")), 0, 1, 2)
    assert trio.carry(proposer.attempt(trio.configuration, to(b"v3")), 1, 2) == 2


# --- Queue


def test_several_changes_share_a_round_and_what_is_withdrawn_is_left_out() -> None:
    queue: Queue[str] = Queue()
    entries = [queue.put(f"t{n}", Change(ANY, f"v{n}".encode(), f"op-{n}")) for n in range(BATCH + 3)]
    read = queue.put("read")
    batch = queue.batch(0.0)
    assert len(batch.entries) == BATCH
    queue.withdraw(entries[1])
    encoded = batch.transition(None)
    answers = dict(batch.answers(encoded))
    assert answers[entries[0]].outcome == Committed(1)
    assert entries[1] not in answers and not entries[1].proposed
    assert answers[entries[2]].outcome == Committed(2)
    for entry in answers:
        queue.withdraw(entry)
    rest = queue.batch(0.0)
    assert rest.entries == [*entries[BATCH:], read] and not rest.only_reads
    [*_, (last, answer)] = rest.answers(rest.transition(encoded))
    assert last is read and answer.value == Versioned(BATCH + 2, f"v{BATCH + 2}".encode())


def test_who_takes_turns_is_refused_at_once_in_vain_and_waited_for_when_it_is_next() -> None:
    before, _ = changes(Value(), [Change(ABSENT, b"v", "0")])
    queue: Queue[str] = Queue()
    first, second, third = (queue.put(name, Change(1, b"v", f"{name}-1", caller=name)) for name in "abc")
    batch = queue.batch(0.0)
    assert batch.entries == [first], "one at a time"
    value = batch.transition(before.encode())
    queue.settle(first, Committed(2), 0.0)
    refused = queue.vain(value)
    assert [entry for entry, _ in refused] == [second, third]
    for entry, answer in refused:
        assert answer.outcome == Conflict(Versioned(2, b"v"))
        queue.settle(entry, answer.outcome, 0.0)
    again = queue.put("a", Change(2, b"a2", "a-2", caller="a"))
    last = queue.put("c", Change(2, b"c2", "c-2", caller="c"))
    assert queue.batch(0.1).entries == [] and queue.waits_s(0.1) == pytest.approx(TURN_S - 0.1), "b is next"
    put = queue.put("put", Change(ANY, b"p", "p-1"))
    assert queue.batch(0.1).entries == [put], "who takes no turns waits for nobody"
    queue.withdraw(put)
    batch = queue.batch(TURN_S)
    assert batch.entries == [last], "b did not come, and c was refused before a came"
    value = batch.transition(value)
    queue.settle(last, Committed(3), TURN_S)
    [(vain, answer)] = queue.vain(value)
    assert vain is again and answer.outcome == Conflict(Versioned(3, b"c2"))


def test_what_was_proposed_or_made_is_not_refused_as_vain() -> None:
    queue: Queue[str] = Queue()
    made = Change(1, b"v2", "made", caller="a")
    value, _ = changes(Value(), [Change(ABSENT, b"v1", "0"), made])
    queue.put("again", made)
    proposed = queue.put("b", Change(1, b"w2", "proposed", caller="b"))
    proposed.proposed = True
    assert queue.vain(value.encode()) == []


def test_a_change_that_stands_for_several_raises_the_version_by_as_many() -> None:
    value, outcomes = changes(Value(), [Change(ABSENT, b"v", "1", changes=3), Change(3, b"w", "2")])
    assert outcomes == [Committed(3), Committed(4)] and value.version == 4
    with pytest.raises(ValueError, match="not for 0"):
        Change(ANY, b"v", "1", changes=0)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        (["any", b"v", "id"], Change(ANY, b"v", "id")),
        ([7, None, "id", 2, "me", "of a successor"], Change(7, DELETE, "id", 2, "me")),
    ],
    ids=["of the release before", "of the next one"],
)
def test_changes_on_the_wire(message: list[Wire], change: Change) -> None:
    assert decode_change(message) == change
    assert decode_change(encode_change(change)) == change


# --- Membership


@pytest.mark.parametrize("count", range(3, 7))
def test_majorities_of_neighbouring_sets_meet(count: int) -> None:
    one = Configuration("stock", 2, members(count))
    for other in (one.joined(Member("r9", "i9")),) if count < 6 else (one.left(one.members[0]),):
        assert one.majority + other.majority > len({*one.members, *other.members})
        assert parse(other.encode()) == other and other.epoch == 3


def test_a_set_changes_by_one_at_a_time_and_stays_within_three_and_six() -> None:
    three = in_force()
    with pytest.raises(MembershipError, match="3 or 5 regions"):
        found("stock", members(4))
    with pytest.raises(MembershipError, match="3 or 5 regions"):
        found("stock", [Member("r0", "a"), Member("r0", "b"), Member("r1", "c")])
    with pytest.raises(MembershipError, match="another join"):
        three.left(three.members[0])
    with pytest.raises(MembershipError, match="already"):
        three.joined(three.members[0])
    with pytest.raises(MembershipError, match="no acceptor"):
        three.left(Member("r0", "i9"))
    with pytest.raises(MembershipError, match="let one leave"):
        Configuration("stock", 2, members(6)).joined(Member("r9", "i9"))
    begun = Membership(three, None).next(three.joined(Member("r3", "i3")))
    assert not begun.settled and parse_membership(begun.encode()) == begun
    with pytest.raises(MembershipError, match="finish that first"):
        begun.next(begun.configuration.joined(Member("r4", "i4")))


# --- Homes


def test_homes_are_spread_and_a_region_less_moves_only_its_own_keys() -> None:
    regions = ["a", "b", "c", "d", "e"]
    registers = [Register("stock", f"key-{number}") for number in range(2_000)]
    before = {register: order(register, regions)[0] for register in registers}
    assert all(320 < count < 480 for count in Counter(before.values()).values())
    for register in registers:
        after = order(register, [region for region in regions if region != "c"])
        assert after[0] == before[register] or before[register] == "c"
        assert order(register, reversed(regions)) == order(register, regions)


class Stub:
    """A proposer that does what it is told to."""

    def __init__(self, answer: Committed | Unavailable | Unknown) -> None:
        self.answer = answer
        self.asked = 0

    async def get(self, namespace: str, key: str, *, timeout_s: float | None = None) -> Versioned | None:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return Versioned(self.answer.version, b"v")

    async def change(
        self, namespace: str, key: str, change: Change, *, timeout_s: float | None = None
    ) -> Committed | Conflict:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_another_takes_over_from_a_home_that_fails_and_unknown_stays_unknown() -> None:
    change = Change(ANY, b"v", "op")
    ranked = order(APPLE, ["a", "b", "c"])

    def homes(*answers: Committed | Unavailable | Unknown) -> Homes:
        proposers: dict[str, StrongBackend] = {
            region: Stub(answer) for region, answer in zip(ranked, answers, strict=False)
        }
        return Homes("a", proposers, lambda _: ("a", "b", "c"), ManualClock(), lambda _: True)

    assert await homes(Committed(1), Committed(2)).change("stock", "apple", change) == Committed(1)
    assert await homes(Unavailable("cut"), Committed(2)).change("stock", "apple", change) == Committed(2)
    assert await homes(Unknown("late"), Committed(2)).change("stock", "apple", change) == Committed(2)
    assert await homes(Unavailable("cut"), Committed(2)).get("stock", "apple") == Versioned(2, b"v")
    with pytest.raises(Unknown):
        await homes(Unknown("late"), Unavailable("cut")).change("stock", "apple", change)
    with pytest.raises(Unavailable):
        await homes(Unavailable("cut"), Unavailable("cut")).change("stock", "apple", change)
    with pytest.raises(Unavailable, match="no proposer"):
        await homes().get("stock", "apple")


async def test_a_home_that_can_not_be_reached_is_not_asked() -> None:
    first, second, third = order(APPLE, ["a", "b", "c"])
    stubs = {first: Stub(Committed(1)), second: Stub(Committed(2)), third: Stub(Committed(3))}
    proposers: dict[str, StrongBackend] = dict(stubs)
    change = Change(ANY, b"v", "op")

    def homes(own: str, reached: set[str]) -> Homes:
        return Homes(own, proposers, lambda _: ("a", "b", "c"), ManualClock(), reached.__contains__)

    assert await homes(third, {second}).change("stock", "apple", change) == Committed(2)
    assert await homes(third, set()).change("stock", "apple", change) == Committed(3)
    assert stubs[first].asked == 0
