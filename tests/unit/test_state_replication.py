"""The cores of replication, one by one."""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.channel import Wire
from atoll.clock import ManualClock
from atoll.state.kind import Kind
from atoll.state.replication.bootstrap import Bootstrap
from atoll.state.replication.clock_guard import ClockGuard
from atoll.state.replication.coverage import Coverage
from atoll.state.replication.holds import Holds
from atoll.state.replication.lag import Heard, Lag, behind
from atoll.state.replication.membership import Membership
from atoll.state.replication.messages import (
    Acknowledge,
    AskCells,
    AskDigests,
    AskListings,
    Begin,
    Begun,
    Cells,
    Digests,
    End,
    Ended,
    Gap,
    Listings,
    LogBatch,
    Message,
    MessageError,
    Ping,
    Pong,
    Subscribe,
    decode,
    encode,
)
from atoll.state.replication.other_clock import StoreClock
from atoll.state.replication.receiver import FUTURE_S, OutOfStep, Receiver, Retry
from atoll.state.replication.replicator import Replicator
from atoll.state.replication.sender import Sender
from atoll.state.replication.settings import DEFAULTS, ReplicationSettings
from atoll.state.replication.stability import Stability
from atoll.state.replication.trim import Cut, Trim
from atoll.state.replication.watch import Need, Reason, Watch
from atoll.state.stamp import stamp_of
from atoll.state.store import (
    ApplyOutcome,
    ApplyResult,
    Batch,
    BucketDigest,
    Cell,
    CellKey,
    Clocks,
    Listing,
    LogEntry,
    LogSlice,
)
from atoll.state.vector import NOTHING, Dot, Vector

A, B, C = "a.1700000000", "b.1700000000", "c.1700000000"
OLD_A, NEW_A = "a.1700000000", "a.1700000009"
ALL = frozenset({"world"})
THREE = Membership({"a": ALL, "b": ALL, "c": ALL})
MIXED = Membership({"a": frozenset({"world", "eu"}), "b": frozenset({"world", "eu"}), "c": ALL})


# --- Messages

CELL = Cell(CellKey(Kind.MAP, "cart", "size"), b"\x00|x")
MESSAGES: list[Message] = [
    Subscribe("a", Vector({A: 3}), ("eu", "world")),
    LogBatch(Batch(A, 3, 9, ((4, b"\xff"), (7, b"")))),
    Acknowledge(Dot(A, 9), 1),
    Gap("cut"),
    Ping(1),
    Pong(1, 1.5e12),
    Begin("a", "abc"),
    Begun(Vector({A: 3}), stamp_of(5, 6), complete=True),
    AskDigests(("eu",)),
    Digests(Vector({A: 3}), {"eu": {7: BucketDigest(2**62, -5)}}),
    AskListings("eu", (1, 2)),
    Listings({1: Listing(Vector({A: 3}), (CELL,))}),
    AskCells("eu", (CELL.at,)),
    Cells((CELL,)),
    End("a"),
    Ended(),
]


def sent(wire: Wire) -> Wire:
    return cast("Wire", msgpack.unpackb(msgpack.packb(wire), use_list=False))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_comes_as_it_was_sent(message: Message) -> None:
    assert decode(sent(encode(message))) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_successor_may_add_fields_at_the_end(message: Message) -> None:
    _, kind, *fields = cast("Sequence[Wire]", encode(message))
    assert decode(sent([2, kind, *fields, "new", {"more": 1}])) == message


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        ([3, 1, "a", {}, []], "neighbouring versions"),
        ([1, 77], "upgrade it"),
        ([1], "is the peer an agent"),
        ("hello", "is the peer an agent"),
        ([1, 1, "a"], "Subscribe can't be read"),
        ([1, 2, A, -3, 9, []], "LogBatch can't be read"),
        ([1, 3, "no dot", 1], "Acknowledge can't be read"),
    ],
)
def test_what_can_not_be_read_is_refused_with_a_reason(wire: Wire, reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        decode(wire)


wires = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 20) | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.integers(1, 20), st.lists(wires, max_size=5))
def test_whatever_comes_is_a_message_or_refused(kind: int, fields: list[Wire]) -> None:
    with contextlib.suppress(MessageError):
        decode([1, kind, *fields])


# --- Sender and receiver


def entries(actor: str, *namespaces: str, first: int = 1) -> tuple[LogEntry, ...]:
    return tuple(
        LogEntry(Dot(actor, first + place), namespace, b"x") for place, namespace in enumerate(namespaces)
    )


def subscribe(vector: Vector = NOTHING, holds: tuple[str, ...] = ("world",)) -> Subscribe:
    return Subscribe("b", vector, holds)


def test_what_residency_forbids_is_left_out_and_yet_covered() -> None:
    sender = Sender("a", subscribe(Vector({A: 4})), ALL, DEFAULTS)
    assert sender.cursor == Dot(A, 4)
    (batch,) = sender.batches(LogSlice(entries(A, "world", "eu", "", "eu", first=5)))
    assert batch == Batch(A, 4, 8, ((5, b"x"), (7, b"x")))
    assert (sender.cursor, sender.statistics().withheld) == (Dot(A, 8), 2)


def test_batches_end_with_epochs_sizes_and_credits() -> None:
    settings = ReplicationSettings(batch_entries=2, batch_bytes=1000, credits=3)
    sender = Sender("a", subscribe(), ALL, settings)
    log = (*entries(OLD_A, "world", "world", "world"), *entries(NEW_A, *["world"] * 5))
    sizes = [(batch.actor, batch.after, batch.through) for batch in sender.batches(LogSlice(log))]
    assert sizes == [(OLD_A, 0, 2), (OLD_A, 2, 3), (NEW_A, 0, 2)]
    assert not sender.ready
    sender.acknowledged(Acknowledge(Dot(OLD_A, 2), 1))
    assert sender.ready and sender.room == 2 and sender.cursor == Dot(NEW_A, 2)


@pytest.mark.parametrize(("allowed", "wanted"), [(ALL, ()), (frozenset[str](), ("world",))])
def test_what_the_two_sides_differ_about_is_neither_sent_nor_passed_over(
    allowed: frozenset[str], wanted: tuple[str, ...]
) -> None:
    sender = Sender("a", subscribe(holds=wanted), allowed, DEFAULTS)
    (batch,) = sender.batches(LogSlice(entries(A, "", "world", "")))
    assert (batch.through, sender.cursor, sender.disputed) == (1, Dot(A, 1), "world")


def test_a_batch_that_is_applied_is_acknowledged_and_not_before() -> None:
    receiver = Receiver("a")
    receiver.received(Batch(A, 0, 3, ((1, b""), (2, b""), (3, b""))))
    wait = receiver.applied(ApplyResult(ApplyOutcome.WAIT, 1, applied=1, needs=Dot(C, 7)))
    assert isinstance(wait, Retry) and wait.needs == Dot(C, 7)
    assert receiver.next() == Batch(A, 1, 3, ((2, b""), (3, b"")))
    future = receiver.applied(ApplyResult(ApplyOutcome.FUTURE, 2, applied=1, delay_ms=40))
    assert future == Retry(0.04)
    assert receiver.applied(ApplyResult(ApplyOutcome.FUTURE, 2, delay_ms=3_600_000)) == Retry(FUTURE_S)
    assert receiver.applied(ApplyResult(ApplyOutcome.OK, 3, applied=1)) == Acknowledge(Dot(A, 3), 1)
    assert receiver.next() is None
    assert receiver.statistics().applied == 3


def test_a_store_that_has_gone_back_ends_the_link() -> None:
    receiver = Receiver("a")
    receiver.received(Batch(A, 5, 6, ((6, b""),)))
    with pytest.raises(OutOfStep, match="knows 2"):
        receiver.applied(ApplyResult(ApplyOutcome.GAP, 2))


# --- Stability, trim, holds, coverage, bootstrap


def test_stable_is_what_every_member_has_said_in_its_log() -> None:
    clock = ManualClock()
    stability = Stability(clock, "a", THREE.members, 10.0)
    own = Vector({A: 9, B: 5})
    assert stability.stable(own) == NOTHING
    stability.heard({"b": Vector({A: 8, B: 6}), "c": Vector({A: 4, B: 5}), "z": NOTHING})
    assert stability.stable(own) == Vector({A: 4, B: 5})


def test_a_silent_member_is_fenced_until_it_has_transferred() -> None:
    clock = ManualClock()
    stability = Stability(clock, "a", THREE.members, 10.0)
    stability.heard({"b": Vector({A: 8}), "c": Vector({A: 1})})
    own = Vector({A: 9})
    clock.advance(11.0)
    stability.contact("b")
    assert stability.fenced() == {"c"}
    assert stability.stable(own) == Vector({A: 8})
    stability.contact("c")
    assert stability.fenced() == {"c"}  # hearing it is not enough
    stability.returns("c")
    assert stability.stable(own) == Vector({A: 1})  # nothing more is collected without it
    assert stability.fenced() == {"c"}
    stability.returned("c")
    assert stability.fenced() == frozenset()


def test_a_region_that_is_cut_off_fences_nobody() -> None:
    clock = ManualClock()
    stability = Stability(clock, "a", THREE.members, 10.0)
    clock.advance(11.0)
    assert stability.fenced() == frozenset()


def test_the_log_is_cut_where_everybody_is_and_beyond_only_if_it_is_too_long() -> None:
    trim = Trim(keep=10, most=100)
    own = Vector({A: 80})
    assert trim.cut(A, 80, own, Vector({A: 75})) == Cut(Dot(A, 71), forced=False)
    assert trim.cut(A, 80, own, Vector({A: 30})) == Cut(Dot(A, 31), forced=False)
    assert trim.cut(A, 80, own, NOTHING) is None
    assert trim.cut(A, 200, Vector({A: 200}), Vector({A: 30})) == Cut(Dot(A, 101), forced=True)
    assert trim.cut(A, 150, Vector({A: 50}), NOTHING) == Cut(Dot(A, 1), forced=True)


def test_an_actor_is_held_until_it_is_where_the_transfer_began() -> None:
    holds = Holds()
    holds.begin(Vector({A: 5}))
    assert not holds.free(A, Vector({A: 4})) and holds.free(A, Vector({A: 5})) and holds.free(B, NOTHING)
    holds.applying(A)
    assert not holds.quiet(NOTHING) and holds.quiet(Vector({A: 5}))
    holds.applied(A)
    assert holds.quiet(NOTHING)
    holds.owe(Vector({A: 3}))
    holds.end()
    assert not holds.free(A, Vector({A: 2})) and holds.free(A, Vector({A: 3}))


def test_a_peer_that_holds_less_does_not_bring_all_of_an_actor() -> None:
    coverage = Coverage("a", MIXED)
    coverage.taken("c", Vector({B: 9, C: 4}), stamp_of(7))
    assert coverage.claim() == Vector({C: 4})
    assert coverage.lacking(NOTHING) == Vector({B: 9})
    assert coverage.helps("b", B, 9) and not coverage.helps("c", B, 9)
    coverage.taken("b", Vector({B: 8, C: 4}), stamp_of(6))
    # The origin itself doesn't know its 9th operation: it is lost, and nobody waits for it.
    assert coverage.claim() == Vector({B: 8, C: 4})
    assert coverage.lacking(NOTHING) == NOTHING
    assert coverage.stamp == stamp_of(7)


def test_of_its_own_past_a_region_claims_what_is_left_once_all_holders_were_asked() -> None:
    coverage = Coverage("a", MIXED)
    coverage.taken("c", Vector({OLD_A: 9}), stamp_of(1))
    assert coverage.claim() == NOTHING
    assert coverage.helps("b", OLD_A, 0)
    coverage.taken("b", Vector({OLD_A: 6}), stamp_of(1))
    assert coverage.claim() == Vector({OLD_A: 9})


def test_a_store_is_complete_with_one_complete_holder_of_each_namespace_or_all_others() -> None:
    bootstrap = Bootstrap("a", MIXED, complete=False)
    assert bootstrap.missing() == {"b", "c"}
    bootstrap.taken("c", complete=True)
    assert bootstrap.missing() == {"b"}
    bootstrap.taken("b", complete=True)
    assert bootstrap.complete
    founding = Bootstrap("a", THREE, complete=False)
    founding.taken("b", complete=False)
    assert not founding.complete
    founding.taken("c", complete=False)
    assert founding.complete
    founding.use(Membership({**THREE.holds, "d": ALL}))
    assert founding.complete


# --- When to transfer


def watch(clock: ManualClock) -> Watch:
    return Watch(clock, DEFAULTS, lambda peer, actor: True)


def due(
    seen: Watch,
    own: Vector,
    peers: dict[str, Vector],
    reachable: Sequence[str],
    missing: set[str] | None = None,
) -> Need | None:
    return seen.due(own, peers, reachable, NOTHING, lambda *_: False, missing or set())


def test_a_peer_that_stays_ahead_is_transferred_from() -> None:
    clock = ManualClock()
    seen = watch(clock)
    peers = {"b": Vector({C: 5}), "c": NOTHING}
    assert due(seen, NOTHING, peers, ["b", "c"]) is None
    clock.advance(DEFAULTS.ahead_s / 2)
    assert due(seen, Vector({C: 1}), peers, ["b", "c"]) is None  # it moves
    clock.advance(DEFAULTS.ahead_s)
    need = due(seen, Vector({C: 1}), peers, ["b", "c"])
    assert need == Need("b", Reason.AHEAD)
    seen.ended(need, Vector({C: 5}), 3.0)
    clock.advance(DEFAULTS.transfer_rest * 3.0 - 0.1)
    assert due(seen, Vector({C: 1}), peers, ["b", "c"]) is None
    assert due(seen, Vector({C: 5}), peers, ["b", "c"]) is None


def test_gaps_and_an_empty_store_come_before_anything_else() -> None:
    clock = ManualClock()
    seen = watch(clock)
    seen.differs("b")
    seen.gap("c")
    assert due(seen, NOTHING, {}, ["b", "c"], {"b"}) == Need("b", Reason.INCOMPLETE)
    assert due(seen, NOTHING, {}, ["b", "c"]) == Need("c", Reason.GAP)
    seen.failed(Need("c", Reason.GAP))
    assert due(seen, NOTHING, {}, ["b", "c"]) == Need("b", Reason.DIFFERS)
    assert due(seen, NOTHING, {}, []) is None


# --- Lag and clocks


def test_staleness_needs_no_other_clock_than_our_monotonic_one() -> None:
    clock = ManualClock()
    lag = Lag(clock)
    lag.beat(Dot(A, 1), clock.monotonic())
    clock.advance(0.25)
    lag.beat(Dot(A, 2), clock.monotonic())
    clock.advance(0.25)
    assert lag.staleness_ms("b") is None
    heard = {"b": Heard(Vector({A: 1, B: 7}), wall_ms=9_999_999_999_999)}  # its clock is wrong
    lag.heard(heard, clock.wall() * 1000, {})
    assert lag.staleness_ms("b") == pytest.approx(500.0)
    lag.heard({"b": Heard(Vector({A: 2, B: 8}), wall_ms=0)}, clock.wall() * 1000, {})
    assert lag.staleness_ms("b") == pytest.approx(250.0)
    lag.begin()
    assert lag.staleness_ms("b") is None


def test_behind_counts_what_some_peer_has_of_an_origin() -> None:
    known = [Vector({A: 9, B: 3}), Vector({A: 7, NEW_A: 2})]
    assert behind("a", Vector({A: 4}), known) == 7


def measured(clock: ManualClock, guard: ClockGuard, **offsets_ms: float) -> None:
    for peer, offset_ms in offsets_ms.items():
        sent_at = clock.monotonic()
        clock.advance(0.02)
        guard.observe(peer, sent_at, (clock.wall() - 0.01) * 1000 + offset_ms)


def test_the_clock_that_differs_from_the_median_refuses_and_the_others_do_not() -> None:
    clock = ManualClock()
    good, bad, two = ClockGuard(clock, 250.0), ClockGuard(clock, 250.0), ClockGuard(clock, 250.0)
    measured(clock, good, b=5.0, c=-4000.0)
    measured(clock, bad, b=4000.0, c=3990.0)
    measured(clock, two, b=4000.0)
    assert (good.refuses(), bad.refuses(), two.refuses()) == (False, True, False)


def test_a_clock_that_jumps_is_noticed_at_once_and_trusted_again_when_it_is_well_within() -> None:
    clock = ManualClock()
    guard = ClockGuard(clock, 250.0)
    measured(clock, guard, b=0.0, c=0.0)
    assert not guard.refuses()
    clock.epoch += 0.4
    assert guard.refuses()
    clock.epoch -= 0.2
    assert guard.refuses()  # 200 ms: below the limit, but not yet well
    clock.epoch -= 0.1
    assert not guard.refuses()


def told(clock: ManualClock, store: StoreClock, offset_ms: float, took_s: float = 0.002) -> None:
    """The store says what it takes for the time."""
    sent_at = clock.monotonic()
    clock.advance(took_s)
    store.observe(sent_at, (clock.wall() - took_s / 2) * 1000 + offset_ms)


def test_the_wall_clock_is_the_stores_as_far_as_it_is_known_to_differ() -> None:
    clock = ManualClock()
    store = StoreClock(clock)
    assert store.wall() == clock.wall(), "nothing is known yet"
    told(clock, store, 0.0, took_s=3.0)
    assert store.wall() == clock.wall(), "an agent that stood still has no other clock for that"
    told(clock, store, 15_000.0)
    assert store.wall() - clock.wall() == pytest.approx(15.0, abs=0.002)
    assert store.monotonic() == clock.monotonic()
    told(clock, store, 0.0)
    assert store.wall() == clock.wall(), "it was put right"


class Stamping:
    """A store whose clocks are told, and that notes what it is to refuse."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.off_ms = 0
        self.stamped_ms = 0
        self.refuses: list[str] = []

    async def clocks(self) -> Clocks:
        shows = round(self.clock.wall() * 1000) + self.off_ms
        self.stamped_ms = max(self.stamped_ms, shows)
        return Clocks(shows, stamp_of(self.stamped_ms))

    async def refuse(self, reason: str) -> None:
        self.refuses.append(reason)


async def watched(clock: ManualClock, store: Stamping, *, peers: bool) -> Callable[[], Awaitable[None]]:
    """What a region does about its store's clock each time that it looks."""
    members = Membership({region: frozenset({"carts"}) for region in "abc"})
    replicator = Replicator("a", "one", cast("Any", None), cast("Any", None), members, clock, Random(1))

    async def look() -> None:
        clock.advance(0.25)
        for peer in "bc" if peers else "":
            replicator._guard.observe(peer, clock.monotonic(), clock.wall() * 1000)
        await replicator._watch_clock(cast("Any", SimpleNamespace(store=store)))

    await look()
    return look


async def test_a_stores_clock_that_is_wrong_is_noticed_though_the_agents_is_right() -> None:
    clock = ManualClock()
    store = Stamping(clock)
    look = await watched(clock, store, peers=True)
    assert store.refuses == []
    store.off_ms = 15_000
    await look()
    assert [bool(reason) for reason in store.refuses] == [True]
    assert "ahead of the others" in store.refuses[0]


@pytest.mark.parametrize("peers", [True, False])
async def test_after_a_clock_was_ahead_writes_wait_until_stamps_are_those_of_now(*, peers: bool) -> None:
    """They never go back: until then other regions would put off all that this one writes."""
    clock = ManualClock()
    store = Stamping(clock)
    look = await watched(clock, store, peers=peers)
    store.off_ms = 5000
    await look()
    store.off_ms = 0
    for _ in range(17):
        await look()
    assert store.refuses[-1], "4.25 s later"
    for _ in range(3):
        await look()
    assert store.refuses[-1] == "", "5 s later"
    assert len(store.refuses) == 2


def test_an_offset_that_the_round_trip_can_explain_refuses_nothing() -> None:
    clock = ManualClock()
    guard = ClockGuard(clock, 250.0)
    for peer in ("b", "c"):
        sent_at = clock.monotonic()
        clock.advance(1.0)
        guard.observe(peer, sent_at, (clock.wall() - 0.5) * 1000 + 600.0)
    assert not guard.refuses()
    offset = guard.offset("b")
    assert offset is not None and offset.offset_ms == pytest.approx(600.0) and offset.error_ms == 500.0
    clock.advance(31.0)
    assert guard.offset("b") is None
