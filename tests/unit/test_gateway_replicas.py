"""Replicas of the own region: who gets a request, who is ejected and when it comes back."""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from atoll.clock import ManualClock
from atoll.topology import OutlierPolicy
from atoll.topology.wiring import Address
from atoll_gateway.liveness import LONGEST, Liveness
from atoll_gateway.replicas import Replica, Replicas
from atoll_gateway.upstream import Upstream

A, B, C = (Address("127.0.0.1", port) for port in (30001, 30002, 30003))
POLICY = OutlierPolicy(first_s=0.5, longest_s=8.0)


def make(clock: ManualClock, seed: int = 7, changed: Callable[[], None] = lambda: None) -> Replicas:
    return Replicas(lambda at: Upstream(at.host, at.port), clock, random.Random(seed), changed, POLICY)


def pick(replicas: Replicas, avoid: frozenset[Replica] = frozenset()) -> Replica:
    found = replicas.of("quote").pick(avoid)
    assert found is not None
    return found


def picks(replicas: Replicas, count: int) -> Counter[Address]:
    return Counter(pick(replicas).address for _ in range(count))


@pytest.mark.parametrize("addresses", [(A,), (A, B), (A, B, C)])
def test_equals_take_turns(addresses: tuple[Address, ...]) -> None:
    replicas = make(ManualClock())
    replicas.update({"quote": addresses})
    counts = picks(replicas, 3000)
    assert counts.keys() == set(addresses)
    assert min(counts.values()) > 0.8 * 3000 / len(addresses)


def test_the_busiest_of_all_gets_nothing() -> None:
    replicas = make(ManualClock())
    replicas.update({"quote": (A, B, C)})
    group = replicas.of("quote")
    busy = pick(replicas)
    for _ in range(5):
        group.begin(busy)
    assert busy.address not in picks(replicas, 500)
    assert replicas.in_flight("quote") == 5
    for _ in range(5):
        busy.done()
    assert replicas.in_flight("quote") == busy.in_flight == 0


def test_a_refused_replica_comes_back_after_a_pause_that_doubles_up_to_the_longest() -> None:
    clock = ManualClock()
    replicas = make(clock)
    replicas.update({"quote": (A, B)})
    bad = next(replica for replica in replicas.of("quote") if replica.address == A)
    pause = POLICY.first_s
    for _ in range(8):
        assert replicas.live("quote") == 2
        replicas.of("quote").refused(bad)
        replicas.of("quote").refused(bad)  # of requests that met it at the same time: one refusal
        assert replicas.live("quote") == 1
        assert picks(replicas, 50) == {B: 50}
        clock.advance(pause - 0.125)
        assert replicas.live("quote") == 1
        clock.advance(0.125)
        pause = min(2 * pause, POLICY.longest_s)
    assert replicas.live("quote") == 2
    clock.advance(POLICY.window_s)
    replicas.of("quote").refused(bad)
    clock.advance(POLICY.first_s)
    assert replicas.live("quote") == 2, "after a healthy while it starts from the shortest pause again"


def test_if_all_refuse_they_are_tried_all_the_same_the_one_ejected_longest_ago_first() -> None:
    clock = ManualClock()
    replicas = make(clock)
    replicas.update({"quote": (A, B, C)})
    group = replicas.of("quote")
    order = list(group)
    random.Random(3).shuffle(order)
    for replica in order:
        group.refused(replica)
        clock.advance(0.01)
    assert replicas.live("quote") == 0
    tried: frozenset[Replica] = frozenset()
    for replica in order:
        assert group.pick(tried) is replica
        tried |= {replica}
    assert group.pick(tried) is None, "none is tried twice by one request"
    assert replicas.statistics()["quote"].panics == 3
    began = group.begin(order[0])
    group.succeeded(order[0], began)
    group.end(order[0])
    assert replicas.live("quote") == 1, "who answers in panic is back"
    assert pick(replicas) is order[0]


def test_a_new_table_keeps_the_ejection_of_a_replica_that_stays() -> None:
    replicas = make(ManualClock())
    replicas.update({"quote": (A, B)})
    gone = pick(replicas)
    replicas.of("quote").refused(gone)
    replicas.update({"quote": (A, B, C)})
    assert gone.address not in picks(replicas, 200)
    replicas.update({"quote": ()})
    assert replicas.of("quote").pick() is None
    assert replicas.live("quote") == 0


def test_a_replica_that_left_the_table_finishes_what_it_has_and_changes_nothing() -> None:
    replicas = make(ManualClock())
    replicas.update({"quote": (A,)})
    group = replicas.of("quote")
    leaving = pick(replicas)
    group.begin(leaving)
    replicas.update({"quote": (B,)})
    assert picks(replicas, 20) == {B: 20}
    for _ in range(10):
        group.failed(leaving, answered=False)
    group.refused(leaving)
    group.stalled(leaving)
    assert replicas.in_flight("quote") == 1
    leaving.done()
    assert replicas.in_flight("quote") == 0
    assert replicas.statistics()["quote"].ejections == 0


def test_until_a_table_is_known_the_proxy_of_serve_is_used_and_never_given_up() -> None:
    replicas = make(ManualClock())
    assert replicas.live("quote") is None
    replicas.use_proxy(C)
    proxy = pick(replicas)
    assert proxy.address == C
    replicas.of("quote").refused(proxy)
    assert pick(replicas) is proxy
    assert replicas.of("quote").pick(frozenset({proxy})) is None, (
        "a request that it refused does not try it again"
    )
    replicas.update({"quote": (A,)})
    assert picks(replicas, 10) == {A: 10}


def test_without_a_table_and_a_proxy_there_is_nobody() -> None:
    assert make(ManualClock()).of("quote").pick() is None


def test_the_table_of_serve_leaves_origins_alone_and_the_other_way_round() -> None:
    replicas = make(ManualClock())
    replicas.use_origins({"legacy": (C,)})
    assert replicas.live("legacy") == 1
    assert replicas.live("quote") is None
    replicas.update({"quote": (A,)})
    assert (replicas.live("legacy"), replicas.live("quote")) == (1, 1)
    replicas.use_origins({"legacy": (B, C)})
    assert (replicas.live("legacy"), replicas.live("quote")) == (2, 1)
    replicas.use_origins({})
    assert (replicas.live("legacy"), replicas.live("quote")) == (0, 1)


def test_whoever_ejects_says_so_and_asks_for_a_new_table() -> None:
    asked: list[int] = []
    changed: list[int] = []
    replicas = make(ManualClock(), changed=lambda: changed.append(1))
    replicas.ask_anew = lambda: asked.append(1)
    replicas.update({"quote": (A, B)})
    replicas.of("quote").refused(pick(replicas))
    assert (len(asked), len(changed)) == (1, 2)


# --- who is asked whether it is alive


def waiting(latency_s: float = 0.0) -> tuple[ManualClock, Replicas, Liveness]:
    """One replica that usually takes so long, and that owes an answer from now on."""
    clock = ManualClock(now=100.0)
    replicas = make(clock)
    replicas.update({"quote": (A, B)})
    replica = pick(replicas)
    replica.latency_s = latency_s
    replicas.of("quote").begin(replica)
    liveness = Liveness(replicas, lambda at: Upstream(at.host, at.port), clock, POLICY)
    liveness._awake_since = 0.0
    return clock, replicas, liveness


@pytest.mark.parametrize(
    ("latency_s", "asked_after_s"),
    [(0.01, POLICY.stall_s), (2.0, 6.0), (60.0, LONGEST * POLICY.stall_s)],
)
def test_a_replica_is_asked_once_it_is_silent_for_longer_than_usual(
    latency_s: float, asked_after_s: float
) -> None:
    clock, replicas, liveness = waiting(latency_s)
    clock.advance(asked_after_s)
    assert liveness._silent(clock.now) == []
    clock.advance(0.125)
    assert [replica.in_flight for _, replica in liveness._silent(clock.now)] == [1]
    for replica in replicas.of("quote"):
        replicas.of("quote").alive(replica)
    assert liveness._silent(clock.now) == [], "a sign of life begins the count anew"


def test_after_this_process_stood_still_nobody_is_asked_for_its_own_sleep() -> None:
    clock, _, liveness = waiting()
    clock.advance(30.0)
    liveness._awake_since = clock.now
    assert liveness._silent(clock.now) == []
    clock.advance(POLICY.stall_s)
    assert len(liveness._silent(clock.now)) == 1
