"""Replicas of the own region: who gets a request, who is ejected and when it comes back."""

import random
from collections import Counter

from atoll.clock import ManualClock
from atoll.topology.wiring import Address
from atoll_gateway.replicas import FIRST_PAUSE_S, LONGEST_PAUSE_S, Replicas
from atoll_gateway.upstream import Upstream

A, B, C = (Address("127.0.0.1", port) for port in (30001, 30002, 30003))


def make(clock: ManualClock, seed: int = 7) -> Replicas:
    return Replicas(lambda at: Upstream(at.host, at.port), clock, random.Random(seed), lambda: None)


def picks(replicas: Replicas, count: int) -> Counter[Address]:
    found = (replicas.pick("quote") for _ in range(count))
    return Counter(replica.address for replica in found if replica is not None)


def test_equals_take_turns() -> None:
    for addresses in ((A, B), (A, B, C)):
        replicas = make(ManualClock())
        replicas.update({"quote": addresses})
        counts = picks(replicas, 3000)
        assert counts.keys() == set(addresses)
        assert min(counts.values()) > 0.8 * 3000 / len(addresses)


def test_the_busiest_of_all_gets_nothing() -> None:
    replicas = make(ManualClock())
    replicas.update({"quote": (A, B, C)})
    busy = replicas.pick("quote")
    assert busy is not None
    for _ in range(5):
        replicas.begin("quote", busy)
    assert busy.address not in picks(replicas, 500)
    assert replicas.in_flight("quote") == 5


def test_an_ejected_replica_comes_back_after_a_pause_that_doubles() -> None:
    clock = ManualClock()
    replicas = make(clock)
    replicas.update({"quote": (A,)})
    pause = FIRST_PAUSE_S
    for _ in range(8):
        replica = replicas.pick("quote")
        assert replica is not None
        replicas.eject("quote", replica)
        assert replicas.pick("quote") is None
        assert replicas.live("quote") == 0
        clock.advance(pause - 0.001)
        assert replicas.pick("quote") is None
        clock.advance(0.002)
        assert replicas.live("quote") == 1
        pause = min(2 * pause, LONGEST_PAUSE_S)
    replica = replicas.pick("quote")
    assert replica is not None
    replicas.answered(replica)
    assert replica.pause_s == FIRST_PAUSE_S


def test_a_new_table_keeps_the_ejection_of_a_replica_that_stays() -> None:
    replicas = make(ManualClock())
    replicas.update({"quote": (A, B)})
    replica = replicas.pick("quote")
    assert replica is not None
    replicas.eject("quote", replica)
    replicas.update({"quote": (A, B, C)})
    assert replica.address not in picks(replicas, 200)
    replicas.update({"quote": ()})
    assert replicas.pick("quote") is None
    assert replicas.live("quote") == 0


def test_until_a_table_is_known_the_proxy_of_serve_is_used_and_never_ejected() -> None:
    replicas = make(ManualClock())
    assert replicas.live("quote") is None
    assert replicas.pick("quote") is None
    replicas.use_proxy(C)
    proxy = replicas.pick("quote")
    assert proxy is not None
    assert proxy.address == C
    replicas.eject("quote", proxy)
    assert replicas.pick("quote") is proxy
    assert replicas.pick("quote", frozenset({C})) is None, "a request that it refused does not try it again"
    replicas.update({"quote": (A,)})
    assert picks(replicas, 10) == {A: 10}


def test_whoever_ejects_asks_for_a_new_table() -> None:
    asked: list[int] = []
    replicas = make(ManualClock())
    replicas.ask_anew = lambda: asked.append(1)
    replicas.update({"quote": (A,)})
    replica = replicas.pick("quote")
    assert replica is not None
    replicas.eject("quote", replica)
    assert asked == [1]
