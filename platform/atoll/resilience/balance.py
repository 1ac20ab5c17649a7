"""Which of a few hosts that do the same gets a request: the less busy of two, and one that has grown slow hardly ever.

Requests in flight decide (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001): a host that
hangs collects them and is left by that alone. Latency comes in when a host is several times slower than the other.
Finagle's ``PeakEwma`` multiplies the two always and jumps up at every slow answer; where short and long requests mix,
each long one then sends everything to the other host. So here one answer counts for little beside many, a slow host is
one that goes on answering slowly, and between hosts of about the same speed requests in flight decide alone.
"""

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from atoll.clock import Clock

SEVERAL = 3.0
"""A host that takes this many times as long as another one, and `SLACK_S` more, is slow."""
SLACK_S = 0.005
AVERAGE_S = 1.0
"""Latency is averaged over about this time: one that rises tenfold is noticed within a quarter of it."""
FADES_S = 5.0
"""What is known of a slow host's latency fades while nothing is sent there (Finagle: 10 s), so that it is tried."""
MOST = 10.0
"""One answer counts as at most this many times the average: one slow request among many says little of the host."""


class Load:
    """What balancing goes by: requests in flight, and how long answers take."""

    __slots__ = (
        "_given_up_at",
        "_measured_at",
        "_now",
        "answered_at",
        "in_flight",
        "latency_s",
        "owes_since",
    )

    def __init__(self, clock: Clock) -> None:
        self._now = clock.monotonic
        self.in_flight = 0
        self.latency_s = 0.0
        """Average of the answers' times, weighted by how recent they are; 0 while none is known."""
        self.owes_since = 0.0
        """When it last went from owing nothing to something. What was given up is still owed: hedges take back what a
        frozen host holds, and it would never be silent for long."""
        self.answered_at = 0.0
        """When it last gave a sign of life."""
        self._given_up_at = 0.0
        self._measured_at = -math.inf

    def begin(self) -> float:
        """A request is about to be sent. Returns the time, for `answered` and `given_up`."""
        now = self._now()
        if not self.in_flight and self._given_up_at <= self.answered_at:
            self.owes_since = now
        self.in_flight += 1
        return now

    def end(self) -> None:
        """A request is over, whatever came of it."""
        self.in_flight -= 1

    def answered(self, began: float) -> float:
        """A request that began then has been answered. Returns the time."""
        now = self._now()
        self.answered_at = now
        self._measure(now - began, now)
        return now

    def given_up(self, began: float) -> None:
        """A request was cancelled: its answer would have taken at least this long, which counts if it is long."""
        now = self._given_up_at = self._now()
        if now - began > self.latency_s:
            self._measure(now - began, now)

    def silent_s(self, now: float) -> float:
        """How long it has owed an answer without giving any; 0 if nothing is in flight."""
        return now - max(self.owes_since, self.answered_at) if self.in_flight else 0.0

    def faded_s(self, now: float) -> float:
        """Its latency as far as that still means something."""
        return self.latency_s * math.exp((self._measured_at - now) / FADES_S)

    def _measure(self, seconds: float, now: float) -> None:
        known = self.latency_s
        if seconds > MOST * known and known > 0.0:
            seconds = MOST * known
        self.latency_s = seconds + (known - seconds) * math.exp((self._measured_at - now) / AVERAGE_S)
        self._measured_at = now


L = TypeVar("L", bound=Load)


def less_loaded(hosts: Sequence[L], chance: Random, now: Callable[[], float]) -> L:
    """The better of two hosts, drawn at random if there are more; equals take turns.

    `hosts` is not empty; `now` gives the time on their clock.
    """
    count = len(hosts)
    if count == 2:
        one, other = hosts
    elif count == 1:
        return hosts[0]
    else:
        first = int(chance.random() * count)
        second = int(chance.random() * (count - 1))
        one, other = hosts[first], hosts[second + (second >= first)]
    if one.latency_s > SEVERAL * other.latency_s + SLACK_S:
        return _unless_slow(one, other, now())
    if other.latency_s > SEVERAL * one.latency_s + SLACK_S:
        return _unless_slow(other, one, now())
    if one.in_flight != other.in_flight:
        return one if one.in_flight < other.in_flight else other
    return one if chance.random() < 0.5 else other


def _unless_slow(slow: L, fast: L, now: float) -> L:
    """Takes the fast one unless it is far busier.

    The ratio of their latencies counts squared: in proportion alone a host ten times slower would still get one request
    in a hundred, which is what a p99 sees.
    """
    if not fast.latency_s:
        return fast if fast.in_flight <= slow.in_flight else slow
    ratio = max(1.0, slow.faded_s(now) / fast.latency_s)
    return slow if (slow.in_flight + 1) * ratio * ratio <= fast.in_flight + 1 else fast
