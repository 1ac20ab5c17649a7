"""The breaker: when it opens, whom it lets in, and whose outcome counts."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pybreaker
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from atoll.clock import ManualClock
from atoll.resilience.breaker import LONGEST_OPEN, Breaker, BreakerState, Permit
from atoll.resilience.window import SLICES, Window
from atoll.topology import BreakerPolicy

POLICY = BreakerPolicy(consecutive=5, failure_rate=0.5, minimum=20, window_s=10.0, open_s=5.0)
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


@dataclass
class Guarded:
    """A breaker and the states that it told of."""

    clock: ManualClock = field(default_factory=ManualClock)
    told: list[BreakerState] = field(default_factory=list)
    breaker: Breaker = field(init=False)

    def __post_init__(self) -> None:
        self.breaker = Breaker(self.clock, POLICY, lambda: self.told.append(self.breaker.state))

    def send(self, *, ok: bool) -> None:
        permit = self.breaker.admit()
        assert permit is not None
        (self.breaker.succeeded if ok else self.breaker.failed)(permit)

    def trip(self) -> None:
        for _ in range(POLICY.consecutive):
            self.send(ok=False)
        assert self.breaker.state is OPEN


@pytest.fixture
def guarded() -> Guarded:
    return Guarded()


@pytest.fixture
def tripped(guarded: Guarded) -> Guarded:
    guarded.trip()
    return guarded


def test_a_run_of_failures_opens_it_and_nothing_is_let_in(guarded: Guarded) -> None:
    for _ in range(POLICY.consecutive - 1):
        guarded.send(ok=False)
    assert guarded.breaker.state is CLOSED
    guarded.send(ok=False)
    assert guarded.breaker.state is OPEN
    assert guarded.told == [OPEN]
    assert guarded.breaker.admit() is None
    assert guarded.breaker.retry_after_s == POLICY.open_s
    assert guarded.breaker.statistics().trips == 1
    assert guarded.breaker.statistics().refused == 1


def test_a_success_ends_a_run(guarded: Guarded) -> None:
    for _ in range(4):
        for _ in range(POLICY.consecutive - 1):
            guarded.send(ok=False)
        for _ in range(2 * POLICY.consecutive):
            guarded.send(ok=True)
    assert guarded.breaker.state is CLOSED


@pytest.mark.parametrize(("outcomes", "opens"), [(18, False), (20, True)])
def test_a_failure_rate_opens_it_once_enough_is_known(
    guarded: Guarded, *, outcomes: int, opens: bool
) -> None:
    for number in range(outcomes):
        guarded.send(ok=number % 2 == 0)  # never two failures in a row
    assert (guarded.breaker.state is OPEN) == opens


def test_failures_that_left_the_window_do_not_count(guarded: Guarded) -> None:
    for number in range(18):
        guarded.send(ok=number % 2 == 0)
    guarded.clock.advance(POLICY.window_s)
    guarded.send(ok=False)
    guarded.send(ok=True)
    guarded.send(ok=False)
    assert guarded.breaker.state is CLOSED
    assert guarded.breaker.statistics().outcomes == 3


def test_one_probe_at_a_time_and_its_success_closes_it_for_good(tripped: Guarded) -> None:
    breaker, clock = tripped.breaker, tripped.clock
    clock.advance(POLICY.open_s)
    assert breaker.state is OPEN, "time alone changes nothing"
    probe = breaker.admit()
    assert probe is not None
    assert breaker.state is HALF_OPEN
    assert [breaker.admit() for _ in range(20)] == [None] * 20
    breaker.succeeded(probe)
    assert breaker.state is CLOSED
    assert tripped.told == [OPEN, HALF_OPEN, CLOSED]
    for _ in range(POLICY.consecutive - 1):
        tripped.send(ok=False)
    assert breaker.state is CLOSED, "what was before counts no more"
    tripped.send(ok=False)
    assert breaker.retry_after_s == POLICY.open_s


def test_a_request_with_nowhere_else_to_go_probes_before_the_time_is_over(tripped: Guarded) -> None:
    breaker = tripped.breaker
    left = breaker.retry_after_s
    for _ in range(3):
        probe = breaker.admit_last()
        assert probe is not None
        assert breaker.admit_last() is None, "one at a time"
        breaker.failed(probe)
        assert breaker.state is OPEN
        assert breaker.retry_after_s == left, "a failure costs the others nothing"
        assert breaker.admit() is None
    probe = breaker.admit_last()
    assert probe is not None
    breaker.succeeded(probe)
    assert breaker.state is CLOSED


def test_it_stays_open_for_twice_as_long_after_each_failed_probe_up_to_a_cap(tripped: Guarded) -> None:
    breaker, clock = tripped.breaker, tripped.clock
    open_s = POLICY.open_s
    for _ in range(6):
        clock.advance(open_s - 0.25)
        assert breaker.admit() is None
        clock.advance(0.25)
        probe = breaker.admit()
        assert probe is not None
        breaker.failed(probe)
        open_s = min(2 * open_s, LONGEST_OPEN * POLICY.open_s)
        assert breaker.retry_after_s == pytest.approx(open_s)
    clock.advance(open_s)
    tripped.send(ok=True)
    tripped.trip()
    assert breaker.retry_after_s == POLICY.open_s, "a success recovers it fully"


def test_a_cancelled_probe_is_no_outcome_and_gives_its_permit_back(tripped: Guarded) -> None:
    breaker, clock = tripped.breaker, tripped.clock
    clock.advance(POLICY.open_s)
    probe = breaker.admit()
    assert probe is not None
    breaker.ignored(probe)
    assert breaker.state is HALF_OPEN
    second = breaker.admit()
    assert second is not None
    breaker.succeeded(probe)
    breaker.failed(probe)
    breaker.ignored(probe)
    assert breaker.state is HALF_OPEN, "the first probe has no say any more"
    assert breaker.admit() is None
    breaker.succeeded(second)
    assert breaker.state is CLOSED


def test_cancelled_requests_do_not_open_it_and_do_not_end_a_run(guarded: Guarded) -> None:
    for _ in range(POLICY.consecutive - 1):
        guarded.send(ok=False)
    for _ in range(100):
        permit = guarded.breaker.admit()
        assert permit is not None
        guarded.breaker.ignored(permit)
    assert guarded.breaker.state is CLOSED
    guarded.send(ok=False)
    assert guarded.breaker.state is OPEN


def test_stragglers_of_an_earlier_generation_count_for_nothing(guarded: Guarded) -> None:
    breaker, clock = guarded.breaker, guarded.clock
    old = [breaker.admit() for _ in range(10)]
    guarded.trip()
    clock.advance(POLICY.open_s)
    probe = breaker.admit()
    assert probe is not None
    for permit in old:
        assert permit is not None
        breaker.succeeded(permit)
    assert breaker.state is HALF_OPEN, "an old success does not close it"
    breaker.succeeded(probe)
    for permit in old:
        assert permit is not None
        breaker.failed(permit)
    assert breaker.state is CLOSED, "old failures do not open it again"
    assert breaker.statistics().stragglers == 20


def test_another_policy_is_taken_up(guarded: Guarded) -> None:
    guarded.breaker.use(BreakerPolicy(consecutive=2))
    guarded.send(ok=False)
    guarded.send(ok=False)
    assert guarded.breaker.state is OPEN


# --- against an oracle that is written to be read


class Oracle:
    """The breaker in plain words, every outcome kept."""

    def __init__(self) -> None:
        self.state = CLOSED
        self.outcomes: list[tuple[float, bool]] = []
        self.run = 0
        self.open_s = POLICY.open_s
        self.until = 0.0
        self.probe: int | None = None
        self.valid: set[int] = set()

    def admits(self, now: float) -> bool:
        if self.state is CLOSED:
            return True
        return self.probe is None and now >= self.until

    def admitted(self, permit: int) -> None:
        if self.state is CLOSED:
            self.valid.add(permit)
        else:
            self.state = HALF_OPEN
            self.probe = permit
            self.valid = {permit}

    def outcome(self, permit: int, now: float, *, ok: bool) -> None:
        if permit not in self.valid:
            return
        if self.state is HALF_OPEN:
            self.open_s = POLICY.open_s if ok else min(2 * self.open_s, 8 * POLICY.open_s)
            self._enter(CLOSED if ok else OPEN, now)
            return
        self.outcomes.append((now, ok))
        self.run = 0 if ok else self.run + 1
        slice_s = POLICY.window_s / SLICES
        recent = [kept for at, kept in self.outcomes if at // slice_s > now // slice_s - SLICES]
        rate = not ok and len(recent) >= POLICY.minimum and recent.count(False) >= 0.5 * len(recent)
        if self.run >= POLICY.consecutive or rate:
            self.open_s = POLICY.open_s
            self._enter(OPEN, now)

    def ignored(self, permit: int) -> None:
        if self.probe == permit and permit in self.valid:
            self.probe = None
            self.valid = set()

    def _enter(self, state: BreakerState, now: float) -> None:
        self.state = state
        self.until = now + self.open_s
        self.probe = None
        self.valid = set()
        self.outcomes = []
        self.run = 0


@dataclass
class Compared:
    """A breaker beside its oracle; requests stay under way until somebody says what came of them."""

    make: Callable[[ManualClock], Breaker] = lambda clock: Breaker(clock, POLICY, lambda: None)
    clock: ManualClock = field(default_factory=ManualClock)
    oracle: Oracle = field(default_factory=Oracle)
    breaker: Breaker = field(init=False)
    under_way: list[tuple[Permit, int]] = field(default_factory=list)
    """What the breaker gave, and a number of our own for the oracle."""
    number: int = 0

    def __post_init__(self) -> None:
        self.breaker = self.make(self.clock)

    def admit(self) -> None:
        permit = self.breaker.admit()
        expected = self.oracle.admits(self.clock.now)
        assert (permit is not None) == expected
        if permit is not None:
            self.number += 1
            self.oracle.admitted(self.number)
            self.under_way.append((permit, self.number))

    def end(self, index: int, outcome: str) -> None:
        permit, number = self.under_way.pop(index % len(self.under_way))
        match outcome:
            case "ignored":
                self.breaker.ignored(permit)
                self.oracle.ignored(number)
            case _:
                ok = outcome == "succeeded"
                (self.breaker.succeeded if ok else self.breaker.failed)(permit)
                self.oracle.outcome(number, self.clock.now, ok=ok)

    def check(self) -> None:
        assert self.breaker.state is self.oracle.state
        assert self.breaker.retry_after_s == (
            max(0.0, self.oracle.until - self.clock.now) if self.oracle.state is OPEN else 0.0
        )


class BreakerMachine(RuleBasedStateMachine):
    """Any order of events; Hypothesis shrinks what fails."""

    def __init__(self) -> None:
        super().__init__()
        self.both = Compared()

    @rule(count=st.integers(1, 12))
    def admit(self, count: int) -> None:
        for _ in range(count):
            self.both.admit()

    @precondition(lambda self: self.both.under_way)
    @rule(
        index=st.integers(0, 50),
        outcome=st.sampled_from(("succeeded", "failed", "failed", "ignored")),
        count=st.integers(1, 6),
    )
    def end(self, index: int, outcome: str, count: int) -> None:
        for _ in range(min(count, len(self.both.under_way))):
            self.both.end(index, outcome)

    @rule(quarters=st.integers(1, 60))
    def advance(self, quarters: int) -> None:
        self.both.clock.advance(quarters / 4)  # exact in binary, as the edges of slices are

    @invariant()
    def same(self) -> None:
        self.both.check()


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)


def run_seed(seed: int, make: Callable[[ManualClock], Breaker], steps: int = 400) -> None:
    """A long run of one seed, with faults that come and go."""
    random = Random(seed)
    both = Compared(make)
    failing = 0.1
    for _ in range(steps):
        match random.choices(("admit", "end", "advance", "fault"), (6, 6, 2, 0.2))[0]:
            case "admit":
                both.admit()
            case "end" if both.under_way:
                outcome = random.choices(("failed", "succeeded", "ignored"), (failing, 1 - failing, 0.1))[0]
                both.end(random.randrange(len(both.under_way)), outcome)
            case "advance":
                both.clock.advance(random.randrange(1, 16) / 4)
            case "fault":
                failing = random.choice((0.02, 0.4, 0.6, 1.0))
        both.check()


def test_it_does_what_the_oracle_says_over_many_seeds() -> None:
    for seed in range(300):
        try:
            run_seed(seed, lambda clock: Breaker(clock, POLICY, lambda: None))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error


class SharedHalfOpen(Breaker):
    """Broken: everybody is a probe while it is half-open, as in bare pybreaker."""

    def _admit_probe(self, *, early: bool) -> Permit | None:
        self._probing = False
        return super()._admit_probe(early=early)


class CountsStragglers(Breaker):
    """Broken: an outcome counts whenever it comes."""

    def succeeded(self, permit: Permit) -> None:
        super().succeeded(self._generation)

    def failed(self, permit: Permit) -> None:
        super().failed(self._generation)


class KeepsThePermit(Breaker):
    """Broken: a cancelled probe keeps everybody out for ever."""

    def ignored(self, permit: Permit) -> None:
        pass


class CancelledIsFailed(Breaker):
    """Broken: a cancelled request counts as a failed one, as in bare pybreaker."""

    def ignored(self, permit: Permit) -> None:
        self.failed(permit)


@pytest.mark.parametrize("broken", [SharedHalfOpen, CountsStragglers, KeepsThePermit, CancelledIsFailed])
def test_control_a_broken_breaker_is_caught(broken: type[Breaker]) -> None:
    caught = 0
    for seed in range(60):
        try:
            run_seed(seed, lambda clock: broken(clock, POLICY, lambda: None))
        except (AssertionError, pybreaker.CircuitBreakerError):
            caught += 1
    print(f"{broken.__name__}: caught by {caught} of 60 seeds")
    assert caught


async def test_control_bare_pybreaker_lets_everybody_probe_and_takes_cancellation_for_failure() -> None:
    """What the adapter is for. If this fails, pybreaker has changed and the adapter may shrink."""
    bare = pybreaker.CircuitBreaker(fail_max=1, reset_timeout=0.0, throw_new_error_on_trip=False)
    inside = most = 0

    async def call() -> None:
        nonlocal inside, most
        with bare.calling():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    bare.half_open()
    await asyncio.gather(*(call() for _ in range(20)))
    assert most == 20

    async def hang() -> None:
        with bare.calling():
            await asyncio.Event().wait()

    task = asyncio.ensure_future(hang())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert bare.current_state == pybreaker.STATE_OPEN


# --- the window


@pytest.mark.parametrize("seed", range(20))
def test_a_window_counts_what_is_recent(seed: int) -> None:
    random = Random(seed)
    window = Window(0.0, 10.0)
    kept: list[tuple[float, bool]] = []
    now = 0.0
    for _ in range(500):
        now += random.choice((0.0, 0.25, 0.5, 3.0, 25.0) if random.random() < 0.3 else (0.0,))
        ok = random.random() < 0.7
        (window.succeeded if ok else window.failed)(now)
        kept.append((now, ok))
        recent = [good for at, good in kept if at // 1.0 > now // 1.0 - SLICES]
        assert window.counts(now) == (len(recent), recent.count(False))
