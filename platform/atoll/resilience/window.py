"""How many of the latest outcomes were failures."""

from collections import deque

SLICES = 10
"""A window moves on by this share of its length. As resilience4j's time-based sliding window, which sums slices of
one second (its documentation, "CircuitBreaker"): counting costs the same however many outcomes there are."""


class Window:
    """Counts successes and failures of the last `window_s` seconds, in slices of a tenth of that.

    What is forgotten is forgotten a slice at a time, so the window covers between 0.9 and 1 times `window_s`. `now` is
    the clock's monotonic time, which whoever counts has at hand.
    """

    __slots__ = ("_ends", "_failures", "_number", "_older", "_origin", "_slice_s", "_successes")

    def __init__(self, now: float, window_s: float) -> None:
        self._slice_s = window_s / SLICES
        self._origin = now
        self._older: deque[tuple[int, int, int]] = deque()
        """Number of the slice, successes, failures; only slices in which something happened."""
        self._number = 0
        self._ends = self._origin + self._slice_s
        self._successes = 0
        self._failures = 0

    def succeeded(self, now: float) -> None:
        """Counts a success."""
        if now >= self._ends:
            self._turn(now)
        self._successes += 1

    def failed(self, now: float) -> None:
        """Counts a failure."""
        if now >= self._ends:
            self._turn(now)
        self._failures += 1

    def counts(self, now: float) -> tuple[int, int]:
        """Outcomes within the window, and how many of them were failures."""
        if now >= self._ends:
            self._turn(now)
        successes, failures = self._successes, self._failures
        for _, more, worse in self._older:
            successes += more
            failures += worse
        return successes + failures, failures

    def fails(self, now: float, rate: float, minimum: int) -> bool:
        """Whether at least `rate` of the outcomes were failures, and there were at least `minimum` outcomes."""
        outcomes, failures = self.counts(now)
        return failures > 0 and outcomes >= minimum and failures >= rate * outcomes

    def clear(self) -> None:
        """Forgets everything."""
        self._older.clear()
        self._successes = self._failures = 0

    def _turn(self, now: float) -> None:
        """Begins the slice that it is time for."""
        number = int((now - self._origin) / self._slice_s)
        older = self._older
        if self._successes or self._failures:
            older.append((self._number, self._successes, self._failures))
            self._successes = self._failures = 0
        while older and older[0][0] <= number - SLICES:
            older.popleft()
        self._number = number
        self._ends = self._origin + (number + 1) * self._slice_s
