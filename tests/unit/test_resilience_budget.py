"""Further attempts stay a share of requests, at whatever times things happen."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.clock import ManualClock
from atoll.resilience.budget import NO_BUDGET, SLICES, UNLIMITED, WINDOW_S, RetryBudget
from atoll.topology import RetryPolicy

SLICE_S = WINDOW_S / SLICES
POLICY = RetryPolicy(ratio=0.2, floor_per_s=0.3)
"""A floor of 3 over the window: small, so that short histories reach it."""

STEPS = st.one_of(
    st.just(0.0),
    st.sampled_from((SLICE_S, WINDOW_S, WINDOW_S - SLICE_S, WINDOW_S + SLICE_S, 3 * WINDOW_S)),
    st.floats(0.0, 2 * SLICE_S),
    st.floats(0.0, 2.5 * WINDOW_S),
)
EVENTS = st.lists(st.tuples(STEPS, st.sampled_from("ddddwwg"), st.integers(1, 12)), max_size=120)


@dataclass
class Oracle:
    """Remembers everything, and counts anew each time."""

    policy: RetryPolicy
    deposits: list[float] = field(default_factory=list)
    withdrawals: list[float] = field(default_factory=list)

    def over(self, now: float, deposits_s: float = WINDOW_S, withdrawals_s: float = WINDOW_S) -> float:
        """By how much withdrawals exceed what is allowed, as of `now`."""
        paid_in = sum(now - deposits_s <= at for at in self.deposits)
        taken_out = sum(now - withdrawals_s <= at for at in self.withdrawals)
        return taken_out - self.policy.ratio * paid_in - WINDOW_S * self.policy.floor_per_s


class Tracked:
    """A budget and its oracle, driven together."""

    def __init__(self, budget: RetryBudget | None = None, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.budget = budget or RetryBudget(self.clock, POLICY)
        self.oracle = Oracle(POLICY)
        self.receipts: list[tuple[int, float]] = []

    def act(self, events: list[tuple[float, str, int]]) -> None:
        for step, what, times in events:
            self.clock.advance(step)
            now = self.clock.now
            for _ in range(times):
                if what == "d":
                    self.budget.deposit()
                    self.oracle.deposits.append(now)
                elif what == "w":
                    self.withdraw()
                elif self.receipts:
                    receipt, at = self.receipts.pop(len(self.receipts) // 2)
                    self.budget.give_back(receipt)
                    self.oracle.withdrawals.remove(at)

    def withdraw(self) -> None:
        now = self.clock.now
        balance = self.budget.balance
        receipt = self.budget.try_withdraw()
        assert bool(receipt) == (balance > 0), "the balance says what may be withdrawn"
        if receipt:
            self.oracle.withdrawals.append(now)
            self.receipts.append((receipt, now))
            assert self.oracle.over(now) <= 1e-9, "more than a share of the last 10 s"
        else:
            # Not refused without need: at the borders it may be a slice too strict, and no more than that.
            self.oracle.withdrawals.append(now)
            assert self.oracle.over(now, WINDOW_S - SLICE_S, WINDOW_S + SLICE_S) > 0
            self.oracle.withdrawals.pop()


@given(EVENTS)
def test_whatever_is_granted_the_last_ten_seconds_allow_it(events: list[tuple[float, str, int]]) -> None:
    Tracked().act(events)


@given(EVENTS)
def test_over_any_stretch_of_time_attempts_are_a_share_of_requests_and_the_floor(
    events: list[tuple[float, str, int]],
) -> None:
    tracked = Tracked()
    tracked.act(events)
    withdrawals = tracked.oracle.withdrawals
    windows = int(tracked.clock.now // WINDOW_S) + 1
    share = POLICY.ratio * len(tracked.oracle.deposits)
    assert len(withdrawals) <= share + windows * WINDOW_S * POLICY.floor_per_s + 1e-9


class Forgetful(RetryBudget):
    """A budget that lets withdrawals go when deposits go: no margin at the borders of slices."""

    def _turn(self, now: float) -> None:
        super()._turn(now)
        oldest = (self._slice + 1) % (SLICES + 1)
        self._withdrawn -= self._withdrawals[oldest]
        self._withdrawals[oldest] = 0


def test_without_the_margin_the_oracle_objects() -> None:
    """The control of the property: the withdrawals of 0.4 s are forgotten at 10.1 s, after less than 10 s."""
    clock = ManualClock(0.4)
    tracked = Tracked(Forgetful(clock, POLICY), clock)
    with pytest.raises(AssertionError, match="more than a share"):
        tracked.act([(0.0, "w", 3), (9.7, "w", 3)])
    Tracked(clock=ManualClock(0.4)).act([(0.0, "w", 3), (9.7, "w", 3)])


def test_what_was_deposited_is_there_for_a_burst() -> None:
    clock = ManualClock()
    budget = RetryBudget(clock, RetryPolicy(ratio=0.2, floor_per_s=3))
    for _ in range(1000):
        clock.advance(0.005)
        budget.deposit()
    assert budget.balance == 230
    assert sum(bool(budget.try_withdraw()) for _ in range(300)) == 230
    clock.advance(WINDOW_S)
    assert budget.balance == 0, "deposits count for less than 10 s, withdrawals for more"
    clock.advance(SLICE_S)
    assert budget.balance == 30


def test_what_sent_nothing_is_given_back_where_it_was_taken() -> None:
    clock = ManualClock()
    budget = RetryBudget(clock, POLICY)
    receipts = [budget.try_withdraw() for _ in range(3)]
    assert all(receipts) and not budget.try_withdraw()
    clock.advance(4)
    budget.give_back(receipts[0])
    assert budget.balance == 1
    clock.advance(20)
    budget.give_back(receipts[1])
    assert budget.balance == 3, "too old to count; nothing is given twice"


def test_a_share_of_the_budget_is_left_to_others() -> None:
    budget = RetryBudget(ManualClock(), RetryPolicy(ratio=0.2, floor_per_s=1))
    assert sum(bool(budget.try_withdraw(0.5)) for _ in range(10)) == 5
    assert sum(bool(budget.try_withdraw()) for _ in range(10)) == 5


def test_counters_have_the_names_of_linkerd() -> None:
    budget = RetryBudget(ManualClock(), RetryPolicy(ratio=0.2, floor_per_s=0.1))
    assert budget.try_withdraw()
    assert not budget.try_withdraw()
    budget.succeeded()
    budget.limit_exceeded()
    statistics = budget.statistics()
    assert (statistics.requests, statistics.successes) == (1, 1)
    assert (statistics.limit_exceeded, statistics.overflow, statistics.balance) == (1, 1, 0)


def test_another_policy_keeps_what_was_deposited() -> None:
    budget = RetryBudget(ManualClock(), RetryPolicy(ratio=0.0, floor_per_s=0.0))
    for _ in range(10):
        budget.deposit()
    assert budget.balance == 0
    budget.use(RetryPolicy(ratio=0.5, floor_per_s=0.0))
    assert budget.balance == 5


def test_no_budget_and_an_unlimited_one() -> None:
    for _ in range(100):
        NO_BUDGET.deposit()
        assert not NO_BUDGET.try_withdraw()
        assert UNLIMITED.try_withdraw()
    assert NO_BUDGET.balance == 0 < UNLIMITED.balance
