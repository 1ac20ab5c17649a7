"""Leaves out the one of a few hosts that fails: a replica, an origin's address, a gateway of another region.

Envoy's outlier detection, made for two to five hosts, where its success-rate statistics never run (they need five) and
a limit of ten percent ejected says nothing. Instead a host is an outlier if it fails clearly more often than the rest
does at the same time: what all of them do is the fault of something that they share, and ejecting them one by one
would only pile the load on the last. There are two kinds of evidence:

- statistics: a run of failures, or a failure rate in a window. They never eject the last live host.
- facts: it refuses connections, or does not answer when asked whether it is alive. They eject any host.

Ejections double while a host goes on failing, and begin afresh once it has been live for a whole window.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Generic, TypeVar

from atoll.clock import Clock
from atoll.resilience.balance import Load, less_loaded
from atoll.resilience.window import Window
from atoll.topology import OutlierPolicy

MARGIN = 0.2
"""An outlier's failure rate is at least this much above the rest's: with five hosts of which four fail, the rest of
each of those still has a quarter of successes."""


class Ejected(StrEnum):
    """Why a host is left out."""

    REFUSED = "refused"
    FAILURES = "failures in a row"
    RATE = "failure rate"
    STALLED = "stalled"
    """It does not answer when asked whether it is alive: out until it does."""


class Host(Load):
    """One of a few that do the same, and how it does. Derive from it to say where it is.

    Only its `Hosts` write what stands here.
    """

    __slots__ = (
        "ejected",
        "ejected_at",
        "ejections",
        "others_failed",
        "others_succeeded",
        "pause_s",
        "present",
        "run",
        "until",
        "window",
    )

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.present = False
        """Whether it is one of its `Hosts` now."""
        self.ejected: Ejected | None = None
        self.ejected_at = -math.inf
        self.until = -math.inf
        """When its latest ejection ends or ended."""
        self.pause_s = 0.0
        """How long its latest ejection was to last."""
        self.ejections = 0
        self.window: Window
        self.run = 0
        """Failures in a row."""
        self.others_succeeded = 0
        """How often all hosts together had when the run began; none of them since is its own."""
        self.others_failed = 0


H = TypeVar("H", bound=Host)

NOBODY: frozenset[Host] = frozenset()


@dataclass(frozen=True, slots=True)
class HostsStatistics:
    """A snapshot. Counters run from the start of this process."""

    known: int
    live: int
    in_flight: int
    """Requests on hosts that have left included."""
    ejections: int
    spared: int
    """Failures that would have ejected a host had it not been the last live one, or no worse than the rest."""
    panics: int
    """Requests given to an ejected host because no live one was left."""


class Hosts(Generic[H]):
    """A few hosts that do the same. For one event loop; not for several threads.

    Whoever sends calls `pick` and `begin`, one of `succeeded`, `failed`, `refused` and `given_up` when it knows, and
    `end` when all is over.
    """

    __slots__ = (
        "_chance",
        "_changed",
        "_ejections",
        "_failures",
        "_live",
        "_now",
        "_out",
        "_panics",
        "_policy",
        "_spared",
        "_successes",
        "in_flight",
    )

    def __init__(
        self, clock: Clock, policy: OutlierPolicy, chance: Random, changed: Callable[[H], None]
    ) -> None:
        """`changed` is called with a host that was ejected, or came back for another reason than time.

        An ejection that ends by time is noticed by the next `pick` or look at `live`, and not told of.
        """
        self._now = clock.monotonic
        self._policy = policy
        self._chance = chance
        self._changed = changed
        self._live: list[H] = []
        self._out: list[H] = []
        """The ejected ones, least recently ejected first."""
        self.in_flight = 0
        self._successes = 0
        self._failures = 0
        self._ejections = 0
        self._spared = 0
        self._panics = 0

    def use(self, policy: OutlierPolicy) -> None:
        """Takes up another policy. Ejections stay as they are, and counting begins afresh."""
        if policy != self._policy:
            self._policy = policy
            for host in self:
                self._count_afresh(host)

    def __iter__(self) -> Iterator[H]:
        """All of them, the ejected ones last."""
        return iter([*self._live, *self._out])

    def __len__(self) -> int:
        return len(self._live) + len(self._out)

    @property
    def live(self) -> int:
        """How many are not ejected now."""
        if self._out:
            self._let_back()
        return len(self._live)

    def join(self, host: H) -> None:
        """A new host, live from now on."""
        host.present = True
        self._count_afresh(host)
        self._live.append(host)

    def leave(self, host: H) -> None:
        """The host gets no more requests. What it still answers is counted, and changes nothing."""
        host.present = False
        (self._live if host.ejected is None else self._out).remove(host)

    # --- a request's way ---

    def pick(self, avoid: frozenset[Host] = NOBODY) -> H | None:
        """The host for the next request, none of `avoid`; None if there is none left.

        If none is live, the one ejected longest ago is tried all the same (Envoy's panic mode): that a connection is
        refused costs microseconds. A stalled one is not, since it is asked all the time whether it lives.
        """
        if self._out:
            self._let_back()
        live = self._live if not avoid else [host for host in self._live if host not in avoid]
        if live:
            return less_loaded(live, self._chance, self._now)
        for host in self._out:
            if host not in avoid and host.ejected is not Ejected.STALLED:
                self._panics += 1
                return host
        return None

    def begin(self, host: H) -> float:
        """A request is about to be sent. Returns the time, for `succeeded` and `given_up`."""
        self.in_flight += 1
        return host.begin()

    def end(self, host: H) -> None:
        """A request is over, whatever came of it."""
        self.in_flight -= 1
        host.in_flight -= 1

    def succeeded(self, host: H, began: float) -> None:
        """The host answered, as it should, a request that began then."""
        host.window.succeeded(host.answered(began))
        host.run = 0
        self._successes += 1
        tried_in_panic = host.ejected is not None and host.ejected is not Ejected.STALLED and not self._live
        if tried_in_panic and host.present:
            self._readmit(host)
            self._changed(host)

    def failed(self, host: H, *, answered: bool) -> bool:
        """The host failed a request: it broke the connection, or, if `answered`, said that it could not serve it.

        Returns whether that speaks against this host alone: there are other live ones, and they do better. How long
        the failure took says nothing of the host's speed; else one that fails fast would draw all requests.
        """
        now = self._now()
        if answered:
            host.answered_at = now
        if host.run == 0:
            host.others_succeeded = self._successes
            host.others_failed = self._failures
        host.run += 1
        self._failures += 1
        host.window.failed(now)
        if host.ejected is not None or not host.present:
            return self.live > 0
        policy = self._policy
        alone = self.live > 1 and self._others_do_better(host)
        if host.run >= policy.consecutive:
            why, outlier = Ejected.FAILURES, alone
        elif host.window.fails(now, policy.failure_rate, policy.minimum):
            why, outlier = Ejected.RATE, self.live > 1 and self._others_fail_less(host, now)
        else:
            return alone
        if outlier:
            self._eject(host, why)
        else:
            self._spared += 1
        return alone

    def refused(self, host: H) -> None:
        """The host took no connection, or turned out to be something else: nobody is there."""
        if host.ejected is None and host.present:
            self._eject(host, Ejected.REFUSED)

    def given_up(self, host: H, began: float) -> None:
        """A request was cancelled before its outcome was known. That is no failure, but it shows how slow it is."""
        host.given_up(began)

    # --- whether it lives ---

    def stalled(self, host: H) -> None:
        """The host did not say that it is alive when asked. It is out until `alive`."""
        if not host.present or host.ejected is Ejected.STALLED:
            return
        if host.ejected is None:
            self._eject(host, Ejected.STALLED)
        else:
            host.ejected = Ejected.STALLED
        host.until = math.inf

    def alive(self, host: H) -> None:
        """The host gave a sign of life that says nothing of how it does. Ends its ejection if it was stalled."""
        now = host.answered_at = self._now()
        if host.ejected is Ejected.STALLED and host.present:
            host.until = now
            host.latency_s = 0.0  # what it was before it froze says nothing of now
            self._readmit(host)
            self._changed(host)

    def statistics(self) -> HostsStatistics:
        return HostsStatistics(
            known=len(self),
            live=self.live,
            in_flight=self.in_flight,
            ejections=self._ejections,
            spared=self._spared,
            panics=self._panics,
        )

    # --- internals ---

    def _others_do_better(self, host: H) -> bool:
        """Whether the rest has succeeded often enough since the host's run of failures began, or was not asked."""
        succeeded = self._successes - host.others_succeeded
        failed = self._failures - host.others_failed - host.run
        return succeeded >= MARGIN * (succeeded + failed)

    def _others_fail_less(self, host: H, now: float) -> bool:
        """Whether the rest's failure rate in the window is clearly below the host's."""
        outcomes, failures = host.window.counts(now)
        others = [other.window.counts(now) for other in self._live if other is not host]
        asked = sum(count for count, _ in others)
        return asked == 0 or failures / outcomes - sum(count for _, count in others) / asked >= MARGIN

    def _eject(self, host: H, why: Ejected) -> None:
        policy = self._policy
        now = self._now()
        goes_on = now - host.until < policy.window_s
        host.pause_s = min(2 * host.pause_s, policy.longest_s) if goes_on else policy.first_s
        host.until = now + host.pause_s
        host.ejected = why
        host.ejected_at = now
        host.ejections += 1
        self._ejections += 1
        self._live.remove(host)
        self._out.append(host)
        self._count_afresh(host)
        self._changed(host)

    def _let_back(self) -> None:
        """Ends the ejections whose time is over."""
        now = self._now()
        for host in [host for host in self._out if host.until <= now]:
            self._readmit(host)

    def _readmit(self, host: H) -> None:
        host.ejected = None
        self._out.remove(host)
        self._live.append(host)

    def _count_afresh(self, host: H) -> None:
        host.window = Window(self._now(), self._policy.window_s)
        host.run = 0
