"""What one (region, service) has of its own at a gateway: breaker, bulkhead and limit, in the order of production.

As `atoll_gateway.layers.region.InRegion`, without metrics and streams.
"""

from collections.abc import Awaitable, Callable

from atoll.clock import Clock
from atoll.resilience.attempts import RETRIED_STATUSES, Failure
from atoll.resilience.breaker import BreakerState
from atoll.resilience.criticality import Criticality
from atoll.simulate.message import Answer
from atoll.simulate.parts import Parts
from atoll.topology import BulkheadPolicy, Topology

FULL = "full"
BREAKER_OPEN = "breaker-open"


class Lane:
    """The way to one region for one service."""

    __slots__ = ("_clock", "_policy", "_probing", "breaker", "bulkhead", "crowded", "limit")

    def __init__(self, clock: Clock, topology: Topology, parts: Parts, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._policy: BulkheadPolicy = topology.bulkhead
        self._probing = 0
        self.crowded = 0
        """Requests that were let in while the breaker was half-open and another one was under way as its probe."""
        self.limit = parts.limit(clock, topology.bulkhead.floor)
        self.bulkhead = parts.bulkhead(clock, topology.bulkhead, self.limit)
        self.breaker = parts.breaker(clock, topology.breaker, changed)

    async def through(
        self,
        criticality: Criticality,
        *,
        last_resort: bool,
        remaining_s: float,
        send: Callable[[], Awaitable[Answer]],
    ) -> Answer:
        """Takes a place and a permit, sends, and tells both what came of it. Raises `Failure`."""
        bulkhead, breaker = self.bulkhead, self.breaker
        if not bulkhead.try_acquire(criticality):
            wait_s = min(self._policy.wait_s, remaining_s) if last_resort else 0.0
            if not await bulkhead.acquire(criticality, wait_s):
                raise Failure(FULL, sent=False, refused=True, retry_after_s=1)
        permit = breaker.admit()
        if permit is None and last_resort:
            permit = breaker.admit_last()
        if permit is None:
            bulkhead.release(None, ok=True)
            raise Failure(
                BREAKER_OPEN,
                sent=False,
                refused=True,
                retry_after_s=max(1, -int(-breaker.retry_after_s // 1)),
            )
        probes = breaker.state is BreakerState.HALF_OPEN
        self._probing += probes
        self.crowded += self._probing > 1
        started = self._clock.monotonic()
        tell = breaker.ignored
        ok, learns = False, True
        try:
            answer = await send()
            ok = answer.status not in RETRIED_STATUSES
            tell = breaker.succeeded if ok else breaker.failed
        except Failure as failure:
            if not failure.refused:
                tell = breaker.failed
            else:
                learns = False
                ok = not (str(failure) == FULL and criticality is not Criticality.SHEDDABLE)
            raise
        finally:
            self._probing -= probes
            tell(permit)
            bulkhead.release(self._clock.monotonic() - started if learns else None, ok=ok)
        return answer
