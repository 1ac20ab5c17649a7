"""Which of a few hosts is left out, and which gets the request."""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.clock import ManualClock
from atoll.resilience.outlier import Ejected, Host, Hosts
from atoll.topology import OutlierPolicy

POLICY = OutlierPolicy(
    consecutive=3, failure_rate=0.5, minimum=10, window_s=10.0, first_s=0.5, longest_s=8.0, stall_s=1.0
)


@dataclass
class Few:
    """Some hosts."""

    count: int
    clock: ManualClock = field(default_factory=ManualClock)
    changes: list[Ejected | None] = field(default_factory=list)
    kind: type[Hosts[Host]] = Hosts[Host]
    seed: int = 1
    hosts: Hosts[Host] = field(init=False)
    each: list[Host] = field(init=False)

    def __post_init__(self) -> None:
        self.hosts = self.kind(
            self.clock, POLICY, Random(self.seed), lambda host: self.changes.append(host.ejected)
        )
        self.each = [Host(self.clock) for _ in range(self.count)]
        for host in self.each:
            self.hosts.join(host)

    def serve(self, host: Host, *, ok: bool, seconds: float = 0.0) -> None:
        began = self.hosts.begin(host)
        self.clock.advance(seconds)
        if ok:
            self.hosts.succeeded(host, began)
        else:
            self.hosts.failed(host, answered=True)
        self.hosts.end(host)

    def rounds(self, count: int, fails: Callable[[int, int], bool]) -> None:
        """Every live host gets a request, again and again; `fails` takes the host's number and the round's."""
        for turn in range(count):
            for number, host in enumerate(self.each):
                if host.ejected is None:
                    self.serve(host, ok=not fails(number, turn))

    @property
    def out(self) -> list[int]:
        return [number for number, host in enumerate(self.each) if host.ejected is not None]


# --- ejection


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_a_run_of_failures_ejects_while_the_rest_does_well(count: int) -> None:
    few = Few(count)
    few.rounds(POLICY.consecutive - 1, lambda number, turn: number == 0)
    assert few.out == []
    few.rounds(1, lambda number, turn: number == 0)
    assert few.out == [0]
    assert few.changes == [Ejected.FAILURES]
    picked = {few.hosts.pick() for _ in range(50)}
    assert few.each[0] not in picked


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_all_but_one_fail_and_all_those_are_ejected(count: int) -> None:
    few = Few(count)
    few.rounds(20, lambda number, turn: number > 0)
    assert few.out == list(range(1, count))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@given(share=st.sampled_from((0.6, 0.9, 1.0)), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_statistics_never_eject_the_last_live_one(count: int, share: float, seed: int) -> None:
    few, random = Few(count), Random(seed)
    for _ in range(300):
        few.rounds(1, lambda number, turn: random.random() < share)
        assert few.hosts.live >= 1
        few.clock.advance(random.choice((0.0, 0.1, 1.0)))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_what_all_do_at_the_same_time_ejects_nobody(count: int) -> None:
    few = Few(count)
    few.rounds(500, lambda number, turn: False)
    few.rounds(500, lambda number, turn: True)
    assert few.out == []
    assert few.hosts.statistics().spared > 0
    few.rounds(5, lambda number, turn: False)
    few.rounds(5, lambda number, turn: number == 1)
    assert few.out == [1], "and is forgotten once it is over"


class Envoys(Hosts[Host]):
    """Without a look at the rest: a run of failures is enough."""

    def _others_do_better(self, host: Host) -> bool:
        return True


def test_control_without_a_look_at_the_rest_a_fault_of_all_leaves_one_with_the_whole_load() -> None:
    few = Few(5, kind=Envoys)
    few.rounds(10, lambda number, turn: True)
    assert few.hosts.live == 1


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_failure_rate_ejects_without_a_run(count: int) -> None:
    few = Few(count)
    few.rounds(POLICY.minimum - 1, lambda number, turn: number == 0 and turn % 2 == 0)
    assert few.out == []
    few.rounds(2, lambda number, turn: number == 0 and turn % 2 == 0)
    assert few.out == [0]
    assert few.changes == [Ejected.RATE]


def test_an_old_success_rate_does_not_hide_that_the_rest_fails_now() -> None:
    few = Few(3)
    few.rounds(5000, lambda number, turn: False)
    few.rounds(3, lambda number, turn: True)
    assert few.out == []


def test_ejections_double_while_it_goes_on_failing_and_begin_afresh_after_a_healthy_window() -> None:
    few = Few(2)
    pause = POLICY.first_s
    for _ in range(7):
        few.rounds(POLICY.consecutive, lambda number, turn: number == 0)
        assert few.out == [0]
        few.clock.advance(pause - 0.125)
        assert few.hosts.live == 1
        few.clock.advance(0.125)
        assert few.hosts.live == 2
        pause = min(2 * pause, POLICY.longest_s)
    few.clock.advance(POLICY.window_s)
    few.rounds(POLICY.consecutive, lambda number, turn: number == 0)
    few.clock.advance(POLICY.first_s)
    assert few.hosts.live == 2


def test_a_refusal_is_a_fact_and_ejects_even_the_last() -> None:
    few = Few(1)
    few.hosts.refused(few.each[0])
    assert few.hosts.live == 0
    assert few.hosts.pick() is few.each[0], "in panic it is tried all the same"


def test_a_success_of_a_request_sent_before_the_ejection_does_not_end_it() -> None:
    few = Few(2)
    bad = few.each[0]
    began = few.hosts.begin(bad)
    few.rounds(POLICY.consecutive, lambda number, turn: number == 0)
    few.hosts.succeeded(bad, began)
    assert few.out == [0]


def test_a_success_of_one_that_has_left_changes_nothing() -> None:
    few = Few(1)
    gone = few.each[0]
    began = few.hosts.begin(gone)
    few.hosts.refused(gone)
    few.hosts.leave(gone)
    few.hosts.succeeded(gone, began)
    few.hosts.end(gone)
    assert len(few.hosts) == 0
    assert few.hosts.in_flight == 0


def test_a_stalled_one_is_out_until_it_is_alive_and_is_not_tried_in_panic() -> None:
    few = Few(2)
    frozen, other = few.each
    few.hosts.stalled(frozen)
    few.clock.advance(3600.0)
    assert few.out == [0]
    few.hosts.refused(other)
    assert few.hosts.pick() is other
    assert few.hosts.pick(frozenset({other})) is None
    few.hosts.alive(frozen)
    assert few.hosts.pick() is frozen
    assert few.changes == [Ejected.STALLED, Ejected.REFUSED, None]
    few.hosts.alive(other)
    assert other.ejected is Ejected.REFUSED, "a sign of life ends no other ejection"


def test_silence_is_counted_from_the_last_answer_or_the_first_request_that_waits() -> None:
    few = Few(1)
    host = few.each[0]
    few.clock.advance(100.0)
    assert host.silent_s(few.clock.now) == 0.0
    began = few.hosts.begin(host)
    few.clock.advance(2.0)
    few.hosts.begin(host)
    few.clock.advance(1.0)
    assert host.silent_s(few.clock.now) == 3.0
    few.hosts.succeeded(host, began)
    few.hosts.end(host)
    few.clock.advance(1.0)
    assert host.silent_s(few.clock.now) == 1.0
    few.hosts.end(host)
    assert host.silent_s(few.clock.now) == 0.0


def test_what_hedges_take_back_is_owed_all_the_same() -> None:
    few = Few(1)
    host = few.each[0]
    for _ in range(4):  # never two at once, and none waits for long
        few.clock.advance(0.25)
        began = few.hosts.begin(host)
        few.clock.advance(0.5)
        host.given_up(began)
        few.hosts.end(host)
    few.hosts.begin(host)
    assert host.silent_s(few.clock.now) == 2.75
    few.hosts.alive(host)
    few.hosts.end(host)
    few.clock.advance(60.0)
    few.hosts.begin(host)
    assert host.silent_s(few.clock.now) == 0.0, "what an answer has followed is not owed any more"


def test_another_policy_is_taken_up_and_keeps_ejections() -> None:
    few = Few(3)
    few.hosts.refused(few.each[2])
    few.hosts.use(OutlierPolicy(consecutive=1))
    assert few.out == [2]
    few.rounds(1, lambda number, turn: number == 0)
    assert few.out == [0, 2]


@given(seed=st.integers(0, 10_000), count=st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_whatever_happens_the_books_balance(seed: int, count: int) -> None:
    """Each host is live or out, in flight is the sum, and while one is not avoided or stalled there is a pick."""
    few, random = Few(count, seed=seed), Random(seed)
    under_way: list[tuple[Host, float]] = []
    for _ in range(200):
        match random.randrange(8):
            case 0 | 1 | 2:
                avoid = frozenset(random.sample(few.each, random.randrange(count + 1)))
                host = few.hosts.pick(avoid)
                if host is not None:
                    assert host not in avoid
                    under_way.append((host, few.hosts.begin(host)))
                else:
                    assert all(other in avoid or other.ejected is Ejected.STALLED for other in few.each)
            case 3 | 4 if under_way:
                host, began = under_way.pop(random.randrange(len(under_way)))
                match random.randrange(4):
                    case 0:
                        few.hosts.succeeded(host, began)
                    case 1:
                        few.hosts.failed(host, answered=random.random() < 0.5)
                    case 2:
                        few.hosts.refused(host)
                    case _:
                        few.hosts.given_up(host, began)
                few.hosts.end(host)
            case 5:
                few.hosts.stalled(random.choice(few.each))
            case 6:
                few.hosts.alive(random.choice(few.each))
            case _:
                few.clock.advance(random.choice((0.01, 0.3, 2.0)))
        statistics = few.hosts.statistics()
        assert statistics.known == len(list(few.hosts)) == len(set(few.hosts)) == count
        assert statistics.live + sum(host.ejected is not None for host in few.each) == count
        assert statistics.in_flight == sum(host.in_flight for host in few.each) == len(under_way)


# --- balancing


@dataclass
class Traffic:
    """Requests that arrive at random, on hosts that take as long as `takes` says and never queue."""

    few: Few
    takes: Callable[[int, float, Random], float]
    """Host's number, time, chance -> seconds."""
    rate: float
    random: Random
    sent: list[tuple[float, int, float]] = field(default_factory=list)
    """Time, host's number, seconds that it took."""

    def run(self, until: float) -> None:
        few, clock = self.few, self.few.clock
        ends: list[tuple[float, int, float]] = []
        arrival = clock.now
        while True:
            arrival += self.random.expovariate(self.rate)
            while ends and ends[0][0] <= arrival:
                at, number, began = heapq.heappop(ends)
                clock.now = at
                few.hosts.succeeded(few.each[number], began)
                few.hosts.end(few.each[number])
            if arrival > until:
                return
            clock.now = arrival
            host = few.hosts.pick()
            assert host is not None
            number = few.each.index(host)
            seconds = self.takes(number, arrival, self.random)
            heapq.heappush(ends, (arrival + seconds, number, few.hosts.begin(host)))
            self.sent.append((arrival, number, seconds))

    def p99(self, since: float, until: float) -> float:
        taken = sorted(seconds for at, _, seconds in self.sent if since <= at < until)
        return taken[int(0.99 * len(taken))]

    def share(self, number: int, since: float, until: float) -> float:
        counts = Counter(to for at, to, _ in self.sent if since <= at < until)
        return counts[number] / counts.total()


def slows(number: int, now: float, random: Random) -> float:
    """Host 0 takes ten times as long between 10 and 30 s."""
    factor = 10 if number == 0 and 10 <= now < 30 else 1
    return factor * random.uniform(0.008, 0.012)


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("rate", [50.0, 1000.0])
def test_a_slow_host_is_avoided_within_a_second_and_taken_back(count: int, rate: float) -> None:
    traffic = Traffic(Few(count), slows, rate, Random(count))
    traffic.run(60.0)
    assert traffic.share(0, 0, 10) == pytest.approx(1 / count, abs=0.05)
    assert traffic.share(0, 11, 30) < 0.01
    assert traffic.p99(11, 30) <= 0.012
    assert traffic.share(0, 50, 60) == pytest.approx(1 / count, abs=0.05)


class InFlightAlone(Hosts[Host]):
    """Power of two choices on requests in flight, and nothing else."""

    def succeeded(self, host: Host, began: float) -> None:
        super().succeeded(host, began)
        host.latency_s = 0.0


def test_control_by_requests_in_flight_alone_the_p99_is_the_slow_hosts() -> None:
    traffic = Traffic(Few(2, kind=InFlightAlone), slows, 1000.0, Random(2))
    traffic.run(30.0)
    assert traffic.p99(11, 30) >= 0.08


def mixed(number: int, now: float, random: Random) -> float:
    """All hosts are alike; one request in fifty takes two hundred times as long."""
    return 1.0 if random.random() < 0.02 else 0.005


@pytest.mark.parametrize("rate", [20.0, 200.0, 2000.0])
def test_long_requests_among_short_ones_make_no_host_slow(rate: float) -> None:
    traffic = Traffic(Few(2), mixed, rate, Random(3))
    traffic.run(30_000 / rate)
    seconds = [sum(taken for _, to, taken in traffic.sent if to == number) for number in (0, 1)]
    assert max(seconds) < 1.5 * min(seconds), "the work is shared"


def freezes(number: int, now: float, random: Random) -> float:
    return 1000.0 if number == 0 and now >= 10 else 0.01


def test_a_frozen_host_is_left_after_a_few_requests() -> None:
    traffic = Traffic(Few(2), freezes, 500.0, Random(4))
    traffic.run(12.0)
    stuck = sum(at >= 10 and to == 0 for at, to, _ in traffic.sent)
    print(f"requests on the frozen host: {stuck} of {sum(at >= 10 for at, _, _ in traffic.sent)}")
    assert stuck < 40, "about as many as the other has in flight at its busiest"


def test_a_host_whose_requests_are_all_given_up_counts_as_slow() -> None:
    few = Few(2)
    for _ in range(20):
        few.serve(few.each[1], ok=True, seconds=0.01)
        began = few.hosts.begin(few.each[0])
        few.clock.advance(0.2)
        few.hosts.given_up(few.each[0], began)
        few.hosts.end(few.each[0])
    assert {few.hosts.pick() for _ in range(50)} == {few.each[1]}


def test_one_that_fails_fast_draws_no_more_than_its_share() -> None:
    few = Few(2)
    few.serve(few.each[0], ok=True, seconds=0.1)
    few.serve(few.each[1], ok=True, seconds=0.1)
    known = few.each[0].latency_s
    few.serve(few.each[0], ok=False)
    assert few.each[0].latency_s == known
