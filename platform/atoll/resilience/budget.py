"""How many attempts beyond the first all requests of a service may have together.

Three words, as Finagle's RetryBudget and tower's `Budget` have them: each request deposits, each further attempt
(retry, hedge, failover) withdraws, the balance is what is left. A share of live traffic and a floor, over a sliding
window: retries stay a share of the load however many requests fail, and a service with hardly any traffic may still
retry. (Marc Brooker, "Fixing retries with token buckets and circuit breakers", 2022, on why a limit a request is not
enough.)
"""

from dataclasses import dataclass
from typing import Final, Protocol

from atoll.clock import Clock
from atoll.topology import RetryPolicy

WINDOW_S = 10.0
"""Deposits and withdrawals count for this long: Finagle's and tower's time to live."""

SLICES = 20
"""Time is counted in slices of half a second. Finagle and tower have 10; finer ones lose less at the borders."""

_SLICE_S = WINDOW_S / SLICES
_KEPT = SLICES + 1


@dataclass(frozen=True, slots=True)
class BudgetStatistics:
    """A snapshot; counters since the start of this process, under linkerd2-proxy's names."""

    balance: int
    requests: int
    """Further attempts that were paid for: retries, hedges and failovers. What was given back is not taken off."""
    successes: int
    """Those of them that brought the answer."""
    limit_exceeded: int
    """Requests that could not be tried again because they had all their attempts."""
    overflow: int
    """Further attempts that the budget refused."""


class Budget(Protocol):
    """What the loop of attempts asks of a budget."""

    @property
    def balance(self) -> int: ...

    def deposit(self) -> None: ...

    def try_withdraw(self, share: float = 1.0) -> int: ...

    def give_back(self, receipt: int) -> None: ...

    def succeeded(self) -> None: ...

    def limit_exceeded(self) -> None: ...

    def overflow(self) -> None: ...

    def use(self, policy: RetryPolicy) -> None: ...

    def statistics(self) -> BudgetStatistics: ...


class RetryBudget:
    """The budget of one service in one process. Every call takes constant time.

    Guarantees, whenever a withdrawal is granted: those of the 10 s before it, itself included, are at most `ratio` x
    the deposits of these 10 s + 10 x `floor_per_s`. So over any stretch of time further attempts are at most `ratio`
    x requests + 10 x `floor_per_s` for each 10 s begun. Deposits made are kept for bursts: that is what lets a region's
    loss be mended at once.

    At the borders of slices it errs on the safe side: deposits count for 9.5 to 10 s, withdrawals for 10 to 10.5 s.
    """

    __slots__ = (
        "_deposited",
        "_deposits",
        "_limit_exceeded",
        "_now",
        "_overflow",
        "_place",
        "_policy",
        "_requests",
        "_slice",
        "_successes",
        "_turns_at",
        "_withdrawals",
        "_withdrawn",
    )

    def __init__(self, clock: Clock, policy: RetryPolicy) -> None:
        self._now = clock.monotonic
        self._policy = policy
        self._slice = int(clock.monotonic() // _SLICE_S)
        """Number of the slice that time is in."""
        self._place = self._slice % _KEPT
        """Where it stands in the two rings."""
        self._turns_at = (self._slice + 1) * _SLICE_S
        self._deposits = [0] * _KEPT
        self._withdrawals = [0] * _KEPT
        self._deposited = 0
        """Of the newest `SLICES` slices."""
        self._withdrawn = 0
        """Of all slices that are kept, one more."""
        self._requests = 0
        self._successes = 0
        self._limit_exceeded = 0
        self._overflow = 0

    def use(self, policy: RetryPolicy) -> None:
        """Takes up another policy; what has been deposited and withdrawn stays."""
        self._policy = policy

    def deposit(self) -> None:
        """A request has come in. Once for each, whatever becomes of it."""
        now = self._now()
        if now >= self._turns_at:
            self._turn(now)
        self._deposits[self._place] += 1
        self._deposited += 1

    def try_withdraw(self, share: float = 1.0) -> int:
        """Pays for one further attempt. Returns a receipt (never 0), or 0 if the budget does not allow it.

        With `share` below 1 only if withdrawals stay below that share of the whole: the rest is for others.
        """
        self._catch_up()
        if self._withdrawn + 1 > share * self._allowed():
            self._overflow += 1
            return 0
        self._withdrawals[self._place] += 1
        self._withdrawn += 1
        self._requests += 1
        return self._slice + 1

    def give_back(self, receipt: int) -> None:
        """The attempt that was paid for sent nothing. Once a receipt."""
        self._catch_up()
        paid_in = receipt - 1
        if paid_in > self._slice - _KEPT:
            self._withdrawals[paid_in % _KEPT] -= 1
            self._withdrawn -= 1

    def succeeded(self) -> None:
        """An attempt that was paid for brought the answer."""
        self._successes += 1

    def limit_exceeded(self) -> None:
        """A request could not be tried again because it had all its attempts."""
        self._limit_exceeded += 1

    def overflow(self) -> None:
        """A request was not tried again because the balance was seen to be spent."""
        self._overflow += 1

    @property
    def balance(self) -> int:
        """Further attempts that could be paid for now."""
        self._catch_up()
        return max(0, int(self._allowed()) - self._withdrawn)

    def statistics(self) -> BudgetStatistics:
        return BudgetStatistics(
            balance=self.balance,
            requests=self._requests,
            successes=self._successes,
            limit_exceeded=self._limit_exceeded,
            overflow=self._overflow,
        )

    def _allowed(self) -> float:
        return self._policy.ratio * self._deposited + WINDOW_S * self._policy.floor_per_s

    def _catch_up(self) -> None:
        now = self._now()
        if now >= self._turns_at:
            self._turn(now)

    def _turn(self, now: float) -> None:
        """Goes on to the slice of `now`; what is too old to count leaves the sums."""
        newest = int(now // _SLICE_S)
        deposits, withdrawals = self._deposits, self._withdrawals
        for entered in range(max(self._slice + 1, newest - SLICES), newest + 1):
            place = entered % _KEPT
            oldest = (entered + 1) % _KEPT  # its withdrawals still count, its deposits do not
            self._withdrawn -= withdrawals[place]
            self._deposited -= deposits[place] + deposits[oldest]
            withdrawals[place] = deposits[place] = deposits[oldest] = 0
        self._slice = newest
        self._place = newest % _KEPT
        self._turns_at = (newest + 1) * _SLICE_S


_NOTHING: Final = BudgetStatistics(balance=0, requests=0, successes=0, limit_exceeded=0, overflow=0)


class _Constant:
    """A budget that always says the same and counts nothing."""

    __slots__ = ("_receipt", "balance")

    def __init__(self, balance: int) -> None:
        self.balance = balance
        self._receipt = min(1, balance)

    def use(self, policy: RetryPolicy) -> None: ...

    def deposit(self) -> None: ...

    def try_withdraw(self, share: float = 1.0) -> int:
        return self._receipt

    def give_back(self, receipt: int) -> None: ...

    def succeeded(self) -> None: ...

    def limit_exceeded(self) -> None: ...

    def overflow(self) -> None: ...

    def statistics(self) -> BudgetStatistics:
        return _NOTHING


NO_BUDGET: Final[Budget] = _Constant(0)
"""Nothing is ever tried again (Finagle's ``RetryBudget.Empty``)."""

UNLIMITED: Final[Budget] = _Constant(2**31)
"""Everything may be tried again (Finagle's ``RetryBudget.Infinite``); for tests, which show what the budget is for."""
