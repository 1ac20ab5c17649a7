"""A direction of a link, driven on a manual clock: order, latency, cut and heal, rate."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.cell.links.shape import (
    PIECE_BYTES,
    PIECE_S,
    THROTTLED_WINDOW_BYTES,
    WINDOW_BYTES,
    Direction,
    Flow,
    Item,
    Mark,
    Shape,
)
from atoll.clock import ManualClock

FLOWS = 3
START_S = 100.0


@dataclass
class Rig:
    """A direction with a few flows, stepped from event to event as the event loop would do it."""

    base: Shape
    seed: int = 0
    clock: ManualClock = field(default_factory=lambda: ManualClock(now=START_S))
    sent: dict[int, list[tuple[float, Item]]] = field(default_factory=lambda: defaultdict(list))
    got: dict[int, list[tuple[float, Item]]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.direction = Direction(self.base, self.clock, Random(self.seed))
        self.flows = [Flow(self._receiver(number)) for number in range(FLOWS)]

    def _receiver(self, number: int) -> Callable[[Item], None]:
        return lambda item: self.got[number].append((self.clock.now, item))

    def send(self, number: int, item: Item) -> None:
        self.sent[number].append((self.clock.now, item))
        self.direction.send(self.flows[number], item)
        self.direction.deliver_due()

    def reshape(self, shape: Shape) -> None:
        self.direction.reshape(shape)
        self.direction.deliver_due()

    def advance(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while (event := self.direction.next_event()) is not None and event <= end:
            self.clock.advance(max(event - self.clock.now, 0.0))
            self.direction.deliver_due()
        self.clock.advance(max(end - self.clock.now, 0.0))

    def drain(self) -> None:
        for _ in range(100_000):
            event = self.direction.next_event()
            if event is None:
                return
            self.advance(max(event - self.clock.now, 0.0))
        raise AssertionError("the direction never comes to rest")


def content(items: list[tuple[float, Item]]) -> list[int | Mark]:
    """The flow as single bytes and marks, whatever the pieces were."""
    out: list[int | Mark] = []
    for _, item in items:
        if isinstance(item, Mark):
            out.append(item)
        else:
            out.extend(bytes(item))
    return out


def arrivals(items: list[tuple[float, Item]]) -> list[float]:
    """The time of each byte or mark."""
    return [at for at, item in items for _ in range(1 if isinstance(item, Mark) else len(item))]


@dataclass(frozen=True)
class Send:
    flow: int
    item: bytes | Mark


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Reshape:
    shape: Shape


Step: TypeAlias = Send | Wait | Reshape

items = st.one_of(
    st.binary(min_size=1, max_size=4000), st.sampled_from([Mark.SYN, Mark.SYN_ACK, Mark.FIN, Mark.RESET])
)
sends = st.builds(Send, st.integers(0, FLOWS - 1), items)
waits = st.builds(Wait, st.floats(0, 0.3))
shapes = st.builds(
    Shape,
    latency_s=st.floats(0, 0.2),
    jitter_s=st.floats(0, 0.2),
    rate_bytes_per_s=st.none() | st.floats(10_000, 1_000_000),
    cut=st.booleans(),
)
healthy = st.builds(Shape, latency_s=st.floats(0, 0.2), jitter_s=st.floats(0, 0.2))


def play(rig: Rig, steps: list[Step]) -> None:
    for step in steps:
        match step:
            case Send(flow, item):
                rig.send(flow, item)
            case Wait(seconds):
                rig.advance(seconds)
            case Reshape(shape):
                rig.reshape(shape)


@given(
    base=healthy,
    seed=st.integers(0, 1000),
    steps=st.lists(st.one_of(sends, waits, st.builds(Reshape, shapes)), max_size=40),
)
def test_whatever_happens_to_the_link_each_flow_arrives_complete_and_in_order(
    base: Shape, seed: int, steps: list[Step]
) -> None:
    rig = Rig(base, seed)
    play(rig, steps)
    for number in range(FLOWS):
        so_far = content(rig.got[number])
        assert so_far == content(rig.sent[number])[: len(so_far)]
    rig.reshape(base)  # heal
    rig.drain()
    for number in range(FLOWS):
        assert content(rig.got[number]) == content(rig.sent[number])
        assert rig.flows[number].pending == 0
    statistics = rig.direction.statistics()
    assert statistics.bytes_sent == statistics.bytes_delivered
    assert (statistics.bytes_waiting, statistics.bytes_in_flight) == (0, 0)


@given(base=healthy, seed=st.integers(0, 1000), steps=st.lists(st.one_of(sends, waits), max_size=40))
def test_nothing_arrives_before_the_latency_and_without_queue_nothing_after_latency_and_jitter(
    base: Shape, seed: int, steps: list[Step]
) -> None:
    rig = Rig(base, seed)
    play(rig, steps)
    rig.drain()
    for number in range(FLOWS):
        took = [
            arrived - sent
            for sent, arrived in zip(arrivals(rig.sent[number]), arrivals(rig.got[number]), strict=True)
        ]
        assert all(t >= base.latency_s - 1e-9 for t in took)
        assert all(t <= base.latency_s + base.jitter_s + 1e-9 for t in took)


@given(
    rate=st.floats(1_000, 1_000_000),
    latency=st.floats(0, 0.1),
    jitter=st.floats(0, 0.1),
    steps=st.lists(st.one_of(sends, waits), max_size=40),
)
def test_a_rate_limit_bounds_all_flows_together_and_is_reached(
    rate: float, latency: float, jitter: float, steps: list[Step]
) -> None:
    rig = Rig(Shape(latency_s=latency, jitter_s=jitter, rate_bytes_per_s=rate))
    play(rig, steps)
    rig.drain()
    delivered = 0
    for at, size in sorted(
        (at, len(item))
        for number in range(FLOWS)
        for at, item in rig.got[number]
        if not isinstance(item, Mark)
    ):
        delivered += size
        assert delivered <= rate * (at - latency - START_S) + 1e-3
    total = rig.direction.statistics().bytes_sent
    last_sent = max((at for flow in rig.sent.values() for at, _ in flow), default=0.0)
    last_got = max((at for flow in rig.got.values() for at, _ in flow), default=0.0)
    assert last_got <= last_sent + total / rate + latency + jitter + 1e-6


def test_the_rate_is_the_links_and_not_each_flows() -> None:
    rig = Rig(Shape(rate_bytes_per_s=10_000))
    for number in range(2):
        rig.send(number, bytes(10_000))
    rig.advance(0.999)
    assert sum(len(content(rig.got[number])) for number in range(2)) <= 10_000
    rig.drain()
    assert rig.clock.now - START_S == pytest.approx(2.0)


def test_a_late_timer_costs_no_throughput() -> None:
    rig = Rig(Shape(rate_bytes_per_s=100_000))
    rig.send(0, bytes(100_000))
    while rig.direction.next_event() is not None:  # a loop that is always 7 ms late
        rig.clock.advance(0.017)
        rig.direction.deliver_due()
    assert rig.clock.now - START_S == pytest.approx(1.0, abs=0.04)


def test_a_cut_calls_back_what_is_in_flight_and_the_heal_sends_it_again() -> None:
    shape = Shape(latency_s=0.04)
    rig = Rig(shape)
    rig.send(0, b"before")
    rig.advance(0.03)
    rig.reshape(replace(shape, cut=True))
    rig.send(0, b"during")
    rig.send(0, Mark.FIN)
    rig.advance(60.0)
    assert rig.got[0] == []
    assert rig.direction.next_event() is None
    assert rig.direction.statistics().bytes_waiting == len(b"beforeduring")
    assert rig.flows[0].pending == len(b"beforeduring")
    rig.reshape(shape)
    healed = rig.clock.now
    rig.drain()
    assert [item for _, item in rig.got[0]] == [b"before", b"during", Mark.FIN]
    assert [at for at, _ in rig.got[0]] == pytest.approx([healed + 0.04] * 3)
    assert rig.direction.statistics().cuts == 1


def test_after_a_slow_link_heals_later_bytes_wait_for_the_slow_ones() -> None:
    rig = Rig(Shape(latency_s=1.0))
    rig.send(0, b"slow")
    rig.reshape(Shape(latency_s=0.01))
    rig.send(0, b"fast")
    rig.send(1, b"other")
    rig.drain()
    assert [item for _, item in rig.got[0]] == [b"slow", b"fast"]
    assert rig.got[0][1][0] == pytest.approx(START_S + 1.0)
    assert rig.got[1][0][0] == pytest.approx(START_S + 0.01)


def test_without_latency_bytes_pass_at_once() -> None:
    rig = Rig(Shape())
    rig.send(0, b"now")
    assert rig.got[0] == [(START_S, b"now")]
    assert rig.direction.next_event() is None


def test_lifting_a_rate_limit_lets_the_queue_go() -> None:
    rig = Rig(Shape(rate_bytes_per_s=1_000))
    rig.send(0, bytes(50_000))
    rig.advance(1.1)
    rig.reshape(Shape())
    rig.advance(PIECE_BYTES / 1_000)  # the piece that was on the wire
    assert len(content(rig.got[0])) == 50_000


def test_jitter_comes_from_the_seed() -> None:
    def times(seed: int) -> list[float]:
        rig = Rig(Shape(latency_s=0.01, jitter_s=0.5), seed)
        for number in range(FLOWS):
            rig.send(number, b"x")
        rig.drain()
        return [rig.got[number][0][0] for number in range(FLOWS)]

    assert times(1) == times(1) != times(2)


def test_the_window_follows_the_bandwidth_delay_product_within_bounds() -> None:
    assert Shape(latency_s=0.04).window_bytes == WINDOW_BYTES
    assert Shape(latency_s=0.04, rate_bytes_per_s=1_000).window_bytes == THROTTLED_WINDOW_BYTES
    assert Shape(latency_s=1, rate_bytes_per_s=500_000).window_bytes == 500_000 * (1 + PIECE_S)
    windows = [Shape(latency_s=1, rate_bytes_per_s=rate).window_bytes for rate in (1e3, 1e5, 1e6, 1e9)]
    assert all(before <= after for before, after in pairwise(windows))
    assert windows[-1] == WINDOW_BYTES


@pytest.mark.parametrize(
    ("latency_s", "jitter_s", "rate", "says"),
    [
        (-1.0, 0.0, None, "latency_s"),
        (0.0, float("nan"), None, "jitter_s"),
        (0.0, 0.0, 0.0, "rate_bytes_per_s"),
        (0.0, 0.0, float("inf"), "rate_bytes_per_s"),
    ],
)
def test_a_shape_no_network_has_is_refused(
    latency_s: float, jitter_s: float, rate: float | None, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        Shape(latency_s, jitter_s, rate)
