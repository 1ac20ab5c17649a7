"""What a region's store promises, on its model: alone, between regions, and under seeded faults."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.state_regions import (
    NAMESPACES,
    Regions,
    Rules,
    SkewedClock,
    failing_seed,
    live_cells,
    live_digests,
)

from atoll.clock import ManualClock
from atoll.state import compare
from atoll.state.envelope import Envelope
from atoll.state.errors import Refusal, StoreRefused
from atoll.state.kind import Kind
from atoll.state.model import AsyncModelStore, ModelStore
from atoll.state.model import region as model_region
from atoll.state.operation import CellWrite, Write, encode
from atoll.state.stamp import Stamp, millis, stamp_of
from atoll.state.store import (
    ApplyOutcome,
    ApplyResult,
    Batch,
    Cell,
    CellChange,
    CellKey,
    Change,
    CounterChange,
    SetChange,
    Store,
)
from atoll.state.types import awset
from atoll.state.types.awset import Dots
from atoll.state.types.counter import LIMIT
from atoll.state.vector import NOTHING, Dot, Vector

FAULTLESS = Rules(faults=False)
NS = "carts"


def opened(region: str = "a", clock: ManualClock | None = None, *, history: int = 0) -> ModelStore:
    store = ModelStore(clock or ManualClock(), history=history)
    store.open(region, "test")
    return store


def put(store: ModelStore, key: str, payload: bytes | None, expiry_ms: int = 0) -> Dot:
    return store.write(NS, Kind.REGISTER, key, [CellChange("", payload, expiry_ms)]).dot


def include(store: ModelStore, key: str, element: str, *, present: bool = True) -> Dot:
    return store.write(NS, Kind.SET, key, [SetChange(element, present)]).dot


def add(store: ModelStore, key: str, amount: int) -> Dot:
    return store.write(NS, Kind.COUNTER, key, [CounterChange(amount)]).dot


def everything(source: ModelStore, after: Dot | None = None) -> Iterator[Batch]:
    """What follows in a store's log, a batch an epoch."""
    entries = source.read_log(after, 10_000).entries
    for actor in dict.fromkeys(entry.dot.actor for entry in entries):
        pairs = tuple((one.dot.seq, one.operation) for one in entries if one.dot.actor == actor)
        yield Batch(actor, pairs[0][0] - 1, pairs[-1][0], pairs)


def ship(source: ModelStore, target: ModelStore) -> ApplyResult | None:
    """Delivers what `target` lacks of the log of `source`; the last answer."""
    result = None
    for batch in everything(source, target.vector().latest(source.statistics().region)):
        result = target.apply(batch)
    return result


def value(store: ModelStore, key: str) -> bytes | None:
    cell = store.read_register(NS, key)
    return None if cell is None else cell.payload


# --- Under seeded faults


def test_regions_end_as_their_operations_demand_without_any_repair() -> None:
    """Late, twice, in any order between actors, through clocks that jump, restarts, trims and transfers."""
    assert failing_seed(range(150), 150, FAULTLESS) is None


def test_regions_end_equal_and_right_after_lost_tails_wiped_disks_and_old_disks() -> None:
    assert failing_seed(range(1000, 1200), 150) is None


def test_control_tombstones_collected_too_early_are_noticed() -> None:
    rules = Rules(collect_when_stable=False, faults=False)
    assert failing_seed(range(200), 150, rules) is not None


def test_control_transfers_that_settle_nothing_are_noticed() -> None:
    assert failing_seed(range(200), 150, Rules(settle=False, faults=False)) is not None


def test_control_removals_without_dots_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def operate(ours: Dots, known: Vector, added: Dot | None, removed: Any) -> Dots:
        return Dots(ours.live | {added}) if added else awset.EMPTY

    monkeypatch.setattr(awset, "operate", operate)
    assert failing_seed(range(50), 150, FAULTLESS) is not None


def test_control_wall_clock_stamps_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def naive(last: Stamp, now_ms: int) -> Stamp:
        return stamp_of(now_ms)

    monkeypatch.setattr(model_region, "successor", naive)
    failure = failing_seed(range(50), 150, FAULTLESS)
    assert failure is not None and "lost against what its region knew" in failure[1][0]


class ReusedEpochs(ModelStore):
    """Goes on in its old epoch after a crash."""

    def open(self, region: str, identity: str, *, floor: int = 0) -> Any:
        if self._state.identity:
            self._open = True
            return None
        return super().open(region, identity, floor=floor)


def test_control_epochs_that_go_on_after_a_lost_tail_are_noticed() -> None:
    def make(clock: SkewedClock) -> ModelStore:
        return ReusedEpochs(clock, history=30)

    rules = Rules()
    found = None
    for seed in range(50):
        try:
            found = failing_seed(range(seed, seed + 1), 150, rules, make)
        except StoreRefused as error:  # the peers know more of this actor than it does
            found = seed, [str(error)]
        if found:
            break
    assert found is not None


# --- The join of whole stores


def states(seed: int) -> Regions:
    regions = Regions(seed, rules=FAULTLESS)
    regions.run(60)
    for region in regions.regions:
        region.transfer = region.source = None
        region.clock.error_s = 0.0
    regions.time.advance(30)
    return regions


def join_into(target: ModelStore, source: ModelStore) -> None:
    regions = Regions(0)
    for _ in regions.transferring(target, source):
        pass


def joined(regions: Regions, *order: int) -> tuple[Vector, dict[Any, Any]]:
    """The whole state of stores joined in an order, from copies: what is live, and what is known."""
    stores = []
    for number in order:
        store = ModelStore(regions.time)
        store.restore(regions.regions[number].store.snapshot())
        store._open = True  # a copy of the running store, not another epoch
        stores.append(store)
    first = stores[0]
    for other in stores[1:]:
        join_into(first, other)
    known = first.vector()
    for one in stores[1:]:
        known = known.join(one.vector())
    return known, live_cells(first)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_whole_stores_join_in_any_order(seed: int) -> None:
    regions = states(seed)
    first = joined(regions, 0, 1, 2)
    assert joined(regions, 0, 2, 1)[1] == first[1]
    assert joined(regions, 1, 0, 2)[1] == joined(regions, 2, 1, 0)[1] == first[1]
    assert joined(regions, 0, 0)[1] == live_cells(regions.regions[0].store)
    assert joined(regions, 0, 1, 2, 1, 0, 2)[1] == first[1]


# --- Operations in any order between actors


def test_operations_in_any_order_that_keeps_each_actors_own_converge() -> None:
    """Also one by one, and with what is known sent again."""
    for seed in range(100):
        converge(seed, random.Random(f"order {seed}"))


def converge(seed: int, chance: random.Random) -> None:
    clock = ManualClock()
    writers = [opened(name, clock) for name in "abc"]
    regions = Regions(seed, count=1)
    regions.chance = random.Random(seed)
    for _ in range(25):
        regions.regions[0].store = writer = regions.chance.choice(writers)
        regions.write(regions.regions[0])
        if regions.chance.random() < 0.3:
            ship(writer, regions.chance.choice([one for one in writers if one is not writer]))
        clock.advance(0.001)
    logs = [
        [(entry.dot, entry.operation) for entry in writer.read_log(None, 1000).entries] for writer in writers
    ]
    replicas = [opened(name, clock) for name in "xy"]
    for replica in replicas:
        places = [0, 0, 0]
        while any(place < len(log) for place, log in zip(places, logs, strict=True)):
            at = chance.choice([n for n in range(3) if places[n] < len(logs[n])])
            dot, operation = logs[at][places[at]]
            result = replica.apply(Batch(dot.actor, dot.seq - 1, dot.seq, ((dot.seq, operation),)))
            if result.outcome is not ApplyOutcome.WAIT:  # on what another actor has written: its turn comes
                places[at] += 1
            if chance.random() < 0.2:
                before = (replica.vector(), live_cells(replica))
                assert replica.apply(
                    Batch(dot.actor, dot.seq - 1, dot.seq, ((dot.seq, operation),))
                ).outcome in {ApplyOutcome.STALE, ApplyOutcome.WAIT}
                assert (replica.vector(), live_cells(replica)) == before
    assert live_cells(replicas[0]) == live_cells(replicas[1]), f"seed {seed}"
    for namespace in NAMESPACES:
        assert live_digests(replicas[0], namespace) == live_digests(replicas[1], namespace)


# --- Why transfers and collections keep their rules; each scene is also played with the rule broken


def late_write_scene() -> tuple[ModelStore, ModelStore, ModelStore, ManualClock]:
    """c writes a value that nobody has heard of; then b deletes the key, with a later stamp."""
    clock = ManualClock()
    b, c = opened("b", clock), opened("c", clock)
    put(c, "k", b"late")
    clock.advance(1)
    put(b, "k", None)
    return b, c, opened("a", clock), clock


def transfer(target: ModelStore, source: ModelStore, rules: Rules = FAULTLESS) -> Iterator[None]:
    return Regions(0, rules=rules).transferring(target, source)


@pytest.mark.parametrize("looks", [True, False])
def test_a_transfer_takes_tombstones_over_even_if_nothing_live_differs(looks: bool) -> None:
    b, c, a, _ = late_write_scene()
    for _ in transfer(a, b, Rules(look_at_removals=looks)):
        pass
    ship(c, a)
    ship(c, b)
    assert value(b, "k") is None
    assert value(a, "k") == (
        None if looks else b"late"
    )  # the control: raised above a removal that it never took


@pytest.mark.parametrize("held", [True, False])
def test_nothing_is_collected_while_somebody_transfers(held: bool) -> None:
    """A removal that b dropped after its vector was taken, and before its cells were."""
    clock = ManualClock()
    a, b, c = (opened(name, clock) for name in "abc")
    dot = include(c, "k", "e")
    everybody = opened("d", clock)
    ship(c, everybody)
    include(everybody, "k", "e", present=False)
    ship(everybody, b)  # the removal comes to b before the addition
    assert b.read_element(NS, "k", "e").removed == {dot}
    going_on = transfer(a, b)
    next(going_on)
    ship(c, b)
    if not held:
        assert b.collect(NOTHING, 10) == 1
    for _ in going_on:
        pass
    ship(c, a)
    assert bool(a.read_element(NS, "k", "e").live) is not held
    assert not b.read_element(NS, "k", "e").live


@pytest.mark.parametrize("held", [True, False])
def test_nothing_is_streamed_into_a_store_while_it_transfers(held: bool) -> None:
    """b knows that a late write of c lost against a removal, and has collected that. a looks at b, then hears c."""
    b, c, a, _ = late_write_scene()
    ship(c, b)
    b.collect(b.vector(), 10)
    vector, stamp = b.vector(), b.clock()
    assert a.digests(NS) == b.digests(NS)
    if not held:
        ship(c, a)
    a.raise_to(vector, stamp)
    ship(c, a)
    assert value(b, "k") is None
    assert value(a, "k") == (None if held else b"late")


def test_the_first_operation_of_an_epoch_waits_for_the_epoch_before() -> None:
    """Otherwise a heartbeat of the new epoch could say that all know a tombstone, with an older write on its way."""
    clock = ManualClock()
    source, target = opened("a", clock), opened("b", clock)
    put(source, "k", b"1")
    source.crash()
    clock.advance(2)
    source.open("a", "test")
    old, new = everything(source)
    result = target.apply(new)
    assert (result.outcome, result.needs) == (ApplyOutcome.WAIT, Dot(old.actor, 2))
    assert target.apply(old).outcome is ApplyOutcome.OK
    assert target.apply(new).outcome is ApplyOutcome.OK


class NoVectorCheck(ModelStore):
    """Takes whatever a transfer brings."""

    def _join_envelope(self, ours: object, theirs: Envelope) -> Envelope | None:
        return super()._join_envelope(ours, theirs) or theirs


@pytest.mark.parametrize("make", [ModelStore, NoVectorCheck])
def test_what_was_deleted_does_not_come_back_from_a_disk_of_old(
    make: type[ModelStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = make is ModelStore
    if not checked:
        adds = compare._adds
        monkeypatch.setattr(compare, "_adds", lambda ours, _, theirs: adds(ours, NOTHING, theirs))
    clock = ManualClock()
    a, b = make(clock), opened("b", clock)
    a.open("a", "test")
    put(a, "k", b"v")
    include(a, "s", "e")
    ship(a, b)
    old = b.snapshot()
    clock.advance(1)
    put(a, "k", None)
    include(a, "s", "e", present=False)
    ship(a, b)
    assert a.collect(a.vector(), 10) == 1  # b has it too
    a.trim(Dot(a.statistics().actor, 99))
    b.restore(old)
    clock.advance(2)
    b.open("b", "test")
    assert a.read_log(b.vector().latest("a"), 10).gap
    for target, source in ((a, b), (b, a)):
        for _ in transfer(target, source):
            pass
    for store in (a, b):
        assert value(store, "k") == (None if checked else b"v")
        assert not store.read_element(NS, "s", "e")


# --- Applying


def test_apply_says_how_far_it_came_and_why_no_further() -> None:
    clock = ManualClock()
    source, target = opened("a", clock), opened("b", clock)
    actor = source.statistics().actor
    for number in range(4):
        put(source, "k", b"%d" % number)
    (batch,) = everything(source)
    assert batch.through == 5
    assert target.apply(Batch(actor, 1, 5, batch.entries[1:])) == ApplyResult(ApplyOutcome.GAP, 0)
    assert target.apply(Batch(actor, 0, 3, batch.entries[:3])) == ApplyResult(ApplyOutcome.OK, 3, 3)
    assert target.apply(Batch(actor, 0, 3, batch.entries[:3])) == ApplyResult(ApplyOutcome.STALE, 3)
    assert target.apply(batch) == ApplyResult(ApplyOutcome.OK, 5, 2)
    assert target.statistics().gaps == 1 and target.statistics().applied == 5


def test_what_residency_leaves_out_is_covered_by_the_range() -> None:
    source, target = opened("a"), opened("b")
    for key in ("k", "l", "m"):
        put(source, key, b"v")
    (batch,) = everything(source)
    actor = batch.actor
    assert target.apply(Batch(actor, 0, 4, (batch.entries[0], batch.entries[2]))).seq == 4
    assert [value(target, key) for key in ("k", "l", "m")] == [None, b"v", None]
    # Stopped at the third, it knows the second, which it may not hold.
    other = opened("c")
    stopped = (batch.entries[0], (3, b"\xc1"))
    assert other.apply(Batch(actor, 0, 4, stopped)) == ApplyResult(ApplyOutcome.UNREADABLE, 2, 1)
    assert other.apply(Batch(actor, 0, 4, (batch.entries[2],))).outcome is ApplyOutcome.OK


def test_a_stamp_ahead_of_the_receivers_clock_waits_and_is_not_taken_in() -> None:
    slow, fast = ManualClock(), ManualClock(now=2.0)
    target, source = opened("b", slow), opened("a", fast)
    before = target.clock()
    (batch,) = everything(source)
    result = target.apply(batch)
    assert (result.outcome, result.delay_ms, result.seq) == (ApplyOutcome.FUTURE, 1500, 0)
    assert target.clock() == before
    slow.advance(1.5)
    assert target.apply(batch).outcome is ApplyOutcome.OK
    put(target, "k", b"v")
    assert target.clock() > source.clock()


def test_an_operation_waits_for_what_it_depends_on() -> None:
    clock = ManualClock()
    a, b, c = (opened(name, clock) for name in "abc")
    cause = put(a, "k", b"cause")
    ship(a, b)
    b.write(NS, Kind.REGISTER, "l", [CellChange("", b"effect")], deps=Vector.of([cause]))
    result = ship(b, c)
    assert result is not None
    assert (result.outcome, result.needs, result.seq) == (ApplyOutcome.WAIT, cause, 1)
    ship(a, c)
    ship(b, c)
    assert value(c, "l") == b"effect" and c.statistics().waits == 1


def test_two_stores_with_one_identity_are_noticed() -> None:
    store = opened("a")
    actor = store.statistics().actor
    with pytest.raises(StoreRefused, match="find and stop the other store") as caught:
        store.apply(Batch(actor, 1, 2, ()))
    assert caught.value.refusal is Refusal.TWIN


# --- Opening


def test_an_epoch_is_larger_than_all_before_and_not_below_the_clock() -> None:
    clock = ManualClock()
    store = ModelStore(clock)
    first = store.open("a", "test")
    assert (first.actor, first.previous, first.fresh) == ("a.1700000000", None, True)
    put(store, "k", b"v")
    store.crash()
    with pytest.raises(StoreRefused, match="not been opened") as caught:
        put(store, "k", b"v")
    assert caught.value.refusal is Refusal.CLOSED
    second = store.open("a", "test")
    assert second.actor == "a.1700000001" and second.previous == Dot("a.1700000000", 2) and not second.fresh
    store.wipe()
    assert store.open("a", "test", floor=1_700_000_008).actor == "a.1700000009"
    assert not store.statistics().complete
    store.complete()
    assert store.statistics().complete


@pytest.mark.parametrize(("region", "identity"), [("b", "test"), ("a", "other")])
def test_a_disk_of_somebody_else_is_refused(region: str, identity: str) -> None:
    store = opened("a")
    with pytest.raises(StoreRefused, match="data belong to region a of deployment test") as caught:
        store.open(region, identity)
    assert caught.value.refusal is Refusal.IDENTITY


def test_a_region_whose_clock_is_off_does_not_write() -> None:
    store = opened()
    store.refuse("its clock is 800 ms ahead of its peers")
    for write in (lambda: put(store, "k", b"v"), lambda: store.expire(1)):
        with pytest.raises(StoreRefused, match="800 ms ahead") as caught:
            write()
        assert caught.value.refusal is Refusal.CLOCK
    assert store.heartbeat()
    store.refuse("")
    assert put(store, "k", b"v")


# --- Writing


def test_a_write_says_what_was_there() -> None:
    clock = ManualClock()
    store = opened(clock=clock)
    now_ms = int(clock.wall() * 1000)
    changes: list[Change] = [CellChange("f", b"1", now_ms + 100), CellChange("g", b"2")]
    assert store.write(NS, Kind.MAP, "k", changes).existed == (False, False)
    clock.advance(0.2)
    gone: list[Change] = [CellChange("f", None), CellChange("g", None), CellChange("h", None)]
    assert store.write(NS, Kind.MAP, "k", gone).existed == (False, True, False)
    assert store.write(NS, Kind.SET, "k", [SetChange("e", True)]).existed == (False,)
    assert store.write(NS, Kind.SET, "k", [SetChange("e", False), SetChange("d", False)]).existed == (
        True,
        False,
    )
    add(store, "k", 5)
    assert store.write(NS, Kind.COUNTER, "k", [CounterChange(-7)]).total == -2


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (Kind.REGISTER, [CellChange("f", b"v")]),
        (Kind.REGISTER, []),
        (Kind.MAP, [CellChange("f", b"v"), CellChange("f", None)]),
        (Kind.MAP, [SetChange("f", True)]),
        (Kind.COUNTER, [CounterChange(1), CounterChange(1)]),
        (Kind.SET, [SetChange("e", True), SetChange("e", False)]),
    ],
)
def test_changes_that_do_not_fit_are_refused_and_change_nothing(kind: Kind, changes: list[Change]) -> None:
    store = opened()
    before = store.statistics()
    with pytest.raises(ValueError, match=f"a {kind.name.lower()} takes"):
        store.write(NS, kind, "k", changes)
    assert store.statistics() == before


def test_a_counter_beyond_exact_numbers_is_refused_and_changes_nothing() -> None:
    store = opened()
    add(store, "k", LIMIT)
    before = store.statistics()
    with pytest.raises(StoreRefused, match="may each sum up to") as caught:
        add(store, "k", 1)
    assert caught.value.refusal is Refusal.RANGE and store.statistics() == before
    assert add(store, "k", -1)


# --- Expiry


def test_only_the_region_that_wrote_a_value_purges_it_and_it_is_gone_everywhere() -> None:
    clock = ManualClock()
    a, b = opened("a", clock), opened("b", clock)
    now_ms = int(clock.wall() * 1000)
    put(a, "k", b"v", now_ms + 1000)
    ship(a, b)
    clock.advance(2)
    assert a.statistics().expiries == 1 and b.statistics().expiries == 0 and b.expire(10) == 0
    cell = b.read_register(NS, "k")
    assert cell is not None and cell.payload == b"v" and cell.visible(now_ms + 2000) is None
    assert a.expire(10) == 1 and a.expire(10) == 0
    ship(a, b)
    assert value(a, "k") is None and value(b, "k") is None
    assert live_digests(a, NS) == live_digests(b, NS) == {}
    assert not a.conflicts(9) and not b.conflicts(9)


def test_a_purge_does_not_touch_a_later_write_and_an_epoch_purges_what_one_before_wrote() -> None:
    clock = ManualClock()
    a, b = opened("a", clock), opened("b", clock)
    now_ms = int(clock.wall() * 1000)
    put(a, "k", b"old", now_ms + 1000)
    put(a, "l", b"old", now_ms + 1000)
    ship(a, b)
    clock.advance(2)
    put(b, "k", b"new")
    a.crash()
    a.open("a", "test")
    assert a.expire(10) == 2
    ship(a, b)
    ship(b, a)
    assert value(a, "k") == value(b, "k") == b"new"
    assert value(a, "l") is None and value(b, "l") is None
    assert live_digests(a, NS) == live_digests(b, NS)


# --- Conflicts


def test_writes_that_did_not_know_each_other_are_counted_and_listed() -> None:
    clock = ManualClock()
    a, b = opened("a", clock), opened("b", clock)
    loser = put(a, "k", b"a")
    clock.advance(0.1)
    winner = put(b, "k", b"b")
    ship(a, b)
    ship(b, a)
    for store in (a, b):
        (conflict,) = store.conflicts(10)
        assert (conflict.winner, conflict.loser) == (winner, loser)
        assert conflict.at == CellKey(Kind.REGISTER, "k", "") and conflict.winner_stamp > conflict.loser_stamp
        assert store.statistics().conflicts == {(NS, Kind.REGISTER): 1}


def test_writes_that_knew_each_other_and_removals_that_meet_are_no_conflict() -> None:
    clock = ManualClock()
    a, b, c = (opened(name, clock) for name in "abc")
    put(a, "k", b"1")
    ship(a, b)
    put(b, "k", b"2")
    ship(b, a)
    put(a, "k", b"3")
    put(a, "l", None)
    put(b, "l", None)
    b.heartbeat()
    a.heartbeat()
    for source, target in ((a, b), (b, a), (b, c), (a, c)):
        ship(source, target)
    assert value(c, "k") == b"3"
    for store in (a, b, c):
        assert store.conflicts(10) == ()


# --- The log


def test_the_log_says_when_it_no_longer_has_what_follows() -> None:
    store = opened()
    actor = store.statistics().actor
    for number in range(5):
        put(store, "k", b"%d" % number)
    assert [entry.dot.seq for entry in store.read_log(None, 3).entries] == [1, 2, 3]
    assert [entry.dot.seq for entry in store.read_log(Dot(actor, 4), 9).entries] == [5, 6]
    assert store.trim(Dot(actor, 4)) == 3
    assert store.read_log(None, 9).gap and store.read_log(Dot(actor, 2), 9).gap
    assert not store.read_log(Dot(actor, 3), 9).gap
    assert store.trim(Dot(actor, 99)) == 3
    assert store.read_log(Dot(actor, 5), 9).gap
    assert not store.read_log(Dot(actor, 6), 9).gap and not store.read_log(Dot(actor, 6), 9).entries


def test_the_log_goes_on_in_the_next_epoch_even_if_the_receiver_has_what_the_store_lost() -> None:
    clock = ManualClock()
    store = opened("a", clock, history=10)
    actor = store.statistics().actor
    for number in range(3):
        put(store, "k", b"%d" % number)
    store.lose_tail(2)
    clock.advance(2)
    following = store.open("a", "test")
    assert following.previous == Dot(actor, 2)
    (entry,) = store.read_log(Dot(actor, 4), 9).entries
    assert entry.dot == Dot(following.actor, 1)
    assert [entry.dot.seq for entry in store.read_log(Dot(actor, 1), 9).entries] == [2, 1]
    store.trim(entry.dot)
    assert store.read_log(Dot(actor, 1), 9).gap and not store.read_log(Dot(actor, 2), 9).gap


# --- Collecting


def test_a_tombstone_is_collected_when_it_is_stable_and_not_before() -> None:
    store = opened()
    dot = put(store, "k", None)
    assert store.statistics().tombstones == 1
    assert store.collect(Vector({dot.actor: dot.seq - 1}), 10) == 0
    assert store.collect(Vector.of([dot]), 10) == 1
    assert store.statistics().tombstones == 0 and store.digests(NS) == {} and store.namespaces() == ()


def test_acknowledgements_of_this_epoch_are_read_after_a_cursor() -> None:
    store = opened()
    dot = put(store, "k", b"v")
    store.acked("b", dot)
    start = store.read_acks("")
    assert start.acks == ()
    store.acked("c", dot)
    store.acked("c", Dot("a.1000000000", 9))
    assert [ack.peer for ack in store.read_acks(start.cursor).acks] == ["c"]


# --- Merging


def test_a_merge_from_the_future_waits_as_a_whole() -> None:
    clock = ManualClock()
    store = opened(clock=clock)
    ahead = stamp_of(int(clock.wall() * 1000) + 700)
    at = CellKey(Kind.REGISTER, "k", "")
    cells = [Cell(at, f"{ahead}|b.1700000000|1||v".encode())]
    assert store.merge(NS, cells).delay_ms == 200 and value(store, "k") is None
    assert store.raise_to(Vector({"b.1700000000": 1}), ahead) == 200 and len(store.vector()) == 1
    clock.advance(0.2)
    assert store.merge(NS, cells).merged == 1 and store.merge(NS, cells).merged == 0
    assert store.raise_to(Vector({"b.1700000000": 1}), ahead) == 0 and store.vector().seq("b.1700000000") == 1
    assert millis(store.write(NS, Kind.REGISTER, "k", [CellChange("", b"w")]).stamp) >= millis(ahead)


def test_cells_that_are_no_cells_are_refused_and_change_nothing() -> None:
    store = opened()
    good = Cell(CellKey(Kind.COUNTER, "k", "b.1700000000"), b"1 0 1")
    with pytest.raises(ValueError, match="not a tally"):
        store.merge(NS, [good, Cell(CellKey(Kind.COUNTER, "l", "b.1700000000"), b"1")])
    assert store.namespaces() == ()


# --- Crashes


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 8))
def test_a_lost_tail_is_as_if_the_last_commands_had_never_been(seed: int, lost: int) -> None:
    regions = Regions(seed, count=1, rules=FAULTLESS, make=lambda clock: ModelStore(clock, history=8))
    region = regions.regions[0]
    seen = [(region.store.vector(), live_cells(region.store), region.store.clock())]
    for _ in range(30):
        regions.write(region)
        regions.time.advance(0.01)
        seen.append((region.store.vector(), live_cells(region.store), region.store.clock()))
    store = region.store
    store.lose_tail(lost)
    assert (store.vector(), live_cells(store), store.clock()) == seen[-1 - lost]


def test_more_than_is_kept_can_not_be_lost() -> None:
    store = opened(history=3)
    with pytest.raises(ValueError, match="only 1 commands"):
        store.lose_tail(2)


# --- Behind the contract


def contract(store: AsyncModelStore) -> Store:
    """It has every method of the contract: mypy checks that."""
    return store


async def test_readers_of_the_log_and_of_acknowledgements_are_woken() -> None:
    store = AsyncModelStore(ModelStore(ManualClock()))
    begin = (await contract(store).open("a", "test")).actor
    waiting = asyncio.create_task(store.read_log(Dot(begin, 1), 10, block_s=30))
    acks = await store.read_acks("")
    acknowledged = asyncio.create_task(store.read_acks(acks.cursor, block_s=30))
    await asyncio.sleep(0)
    result = await store.write(NS, Kind.REGISTER, "k", [CellChange("", b"v")])
    assert [entry.dot for entry in (await waiting).entries] == [result.dot]
    again = asyncio.create_task(store.read_acks(acks.cursor, block_s=30))
    await asyncio.sleep(0)
    await store.acked("b", result.dot)
    assert [ack.dot for ack in (await again).acks] == [result.dot]
    await acknowledged
    assert (await store.read_log(result.dot, 10, block_s=0.01)).entries == ()


def test_an_operation_of_another_program_is_applied() -> None:
    """Bytes as the library writes them, not as the model does."""
    store = opened("b")
    stamp = stamp_of(1_700_000_000_000)
    operation = Write(stamp, NS, Kind.REGISTER, "k", (CellWrite("", b"v"),), NOTHING, 0)
    store.apply(Batch("a.1700000000", 0, 1, ((1, encode(operation)),)))
    assert store.read_register(NS, "k") == Envelope(stamp, "a.1700000000", 1, b"v")
