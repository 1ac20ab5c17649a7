"""A budget that is watched: when it refused."""

from atoll.resilience.budget import Budget, BudgetStatistics
from atoll.simulate.loop import VirtualClock
from atoll.simulate.record import Spans
from atoll.topology import RetryPolicy


class Noting:
    """Passes everything on to a budget, and notes its refusals."""

    __slots__ = ("_budget", "_clock", "_denials")

    def __init__(self, budget: Budget, clock: VirtualClock, denials: Spans) -> None:
        self._budget = budget
        self._clock = clock
        self._denials = denials

    @property
    def balance(self) -> int:
        return self._budget.balance

    def deposit(self) -> None:
        self._budget.deposit()

    def try_withdraw(self, share: float = 1.0) -> int:
        receipt = self._budget.try_withdraw(share)
        if not receipt:
            self._denials.add(self._clock.now, self._clock.now)
        return receipt

    def give_back(self, receipt: int) -> None:
        self._budget.give_back(receipt)

    def succeeded(self) -> None:
        self._budget.succeeded()

    def limit_exceeded(self) -> None:
        self._budget.limit_exceeded()

    def overflow(self) -> None:
        self._denials.add(self._clock.now, self._clock.now)
        self._budget.overflow()

    def use(self, policy: RetryPolicy) -> None:
        self._budget.use(policy)

    def statistics(self) -> BudgetStatistics:
        return self._budget.statistics()
