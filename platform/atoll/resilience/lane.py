"""The way to one region for one service: a place in its bulkhead, a permit of its breaker, and what both learn of it.

Every (region, service) has a lane of its own, so that one that is slow or fails takes nothing from the others. A
request that may also go to another region doesn't wait for a place, nor is it a probe before its time: it goes there
instead.
"""

from dataclasses import dataclass
from math import ceil

from atoll.resilience.attempts import RETRIED_STATUSES, Failure
from atoll.resilience.breaker import Breaker, BreakerState, BreakerStatistics, Permit
from atoll.resilience.bulkhead import Bulkhead, BulkheadStatistics
from atoll.resilience.criticality import Criticality
from atoll.resilience.gradient import AdaptiveLimit, LimitStatistics
from atoll.topology import BulkheadPolicy

PROBE_S = 1.0
"""How long a request with nowhere else to go waits for what becomes of another one's probe: as long as what is silent
is waited for (`OutlierPolicy.stall_s`)."""

FULL_S = 1
"""When to ask again for a place: limits are looked at several times a second."""

FULL_HOSTS = 2
"""A region counts as full once so many of its replicas, or all that are live, have refused a request for want of room.
One says little: other gateways send to it as well, unseen from here. To ask them all would be in vain under overload.
"""


class NoPlace(Failure):
    """All places are taken. Nothing was sent."""

    def __init__(self) -> None:
        super().__init__("full", sent=False, refused=True, retry_after_s=FULL_S)


class BreakerOpen(Failure):
    """The breaker lets nobody in. Nothing was sent."""

    def __init__(self, retry_after_s: float | None) -> None:
        """`retry_after_s` is None for a request that may still be a probe, once it has nowhere else to go."""
        after_s = None if retry_after_s is None else max(1, ceil(retry_after_s))
        super().__init__("breaker-open", sent=False, refused=True, retry_after_s=after_s)


@dataclass(frozen=True, slots=True)
class LaneStatistics:
    """A snapshot of one (region, service)."""

    bulkhead: BulkheadStatistics
    limit: LimitStatistics
    breaker: BreakerStatistics


class Lane:
    """Breaker, bulkhead and limit of one (region, service). For one event loop; not for several threads.

    Whoever wants to send calls `try_enter`, and `enter` if that was in vain; then, with the permit, exactly one of
    `answered`, `failed` and `given_up`; and `leave` if an answer was held.
    """

    __slots__ = ("_policy", "breaker", "bulkhead", "limit")

    def __init__(
        self, policy: BulkheadPolicy, limit: AdaptiveLimit, bulkhead: Bulkhead, breaker: Breaker
    ) -> None:
        self._policy = policy
        self.limit = limit
        self.bulkhead = bulkhead
        self.breaker = breaker

    def bound(self, most: int | None, least: int) -> None:
        """Bounds the limit: by what the region takes, and by what it is to be given at least."""
        self.limit.keep(max(self._policy.floor, least))
        self.limit.cap(most)

    def try_enter(self, criticality: Criticality) -> Permit | None:
        """Lets a request in if there is a place and the breaker is closed, which is how it normally is."""
        if self.breaker.state is BreakerState.CLOSED and self.bulkhead.try_acquire(criticality):
            return self.breaker.admit()
        return None

    async def enter(self, criticality: Criticality, *, last_resort: bool, remaining_s: float) -> Permit:
        """Lets a request in, if need be as a probe or after a wait. Raises `NoPlace` or `BreakerOpen`.

        `last_resort`: every other region has been tried. Only such a request waits, up to `remaining_s` seconds at
        most, and may be a probe before its time.
        """
        wait_s = min(self._policy.wait_s, remaining_s) if last_resort else 0.0
        if not await self.bulkhead.acquire(criticality, wait_s):
            raise NoPlace
        breaker = self.breaker
        if not last_resort:
            permit = breaker.admit()
            if permit is None:
                self.leave()
                raise BreakerOpen(None)  # not the last word: it may come back once the others have been tried
            return permit
        try:
            permit = await breaker.admit_waiting(min(PROBE_S, remaining_s))
        except BaseException:
            self.leave()
            raise
        if permit is None:
            self.leave()
            raise BreakerOpen(breaker.retry_after_s)
        return permit

    def answered(self, permit: Permit, status: int, seconds: float, *, held: bool = False) -> None:
        """An answer has come after `seconds`. `held`: its body is on its way, and keeps the place until `leave`."""
        ok = status not in RETRIED_STATUSES
        if ok:
            self.breaker.succeeded(permit)
        else:
            self.breaker.failed(permit)
        if not held:
            self.bulkhead.release(seconds, ok)
        elif ok:
            self.bulkhead.sample(seconds)

    def failed(
        self,
        permit: Permit,
        failure: Failure,
        seconds: float,
        criticality: Criticality,
        *,
        isolated: bool = False,
        full: bool = False,
    ) -> None:
        """It failed after `seconds`.

        `isolated`: one host's doing, while the others of the region do well. `full`: it was refused for want of room,
        which says that the limit is too high; but the least critical are refused while there is room.
        """
        if isolated or failure.refused:
            self.breaker.ignored(permit)
            turned_away = full and not isolated and criticality is not Criticality.SHEDDABLE
            self.bulkhead.release(None, ok=not turned_away)
        else:
            self.breaker.failed(permit)
            self.bulkhead.release(seconds, ok=False)

    def given_up(self, permit: Permit, seconds: float) -> None:
        """It ended after `seconds` without an outcome: its client left, or another attempt was faster."""
        self.breaker.ignored(permit)
        self.bulkhead.release(seconds, ok=False)

    def leave(self) -> None:
        """Gives back a place that was kept."""
        self.bulkhead.release(None, ok=True)

    def statistics(self) -> LaneStatistics:
        return LaneStatistics(self.bulkhead.statistics(), self.limit.statistics(), self.breaker.statistics())
