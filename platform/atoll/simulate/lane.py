"""A simulated gateway's lanes: production's, with a look at whether a half-open breaker lets in one probe alone."""

from collections.abc import Awaitable, Callable

from atoll.clock import Clock
from atoll.resilience.attempts import Failure
from atoll.resilience.breaker import BreakerState
from atoll.resilience.criticality import Criticality
from atoll.resilience.lane import Lane as CoreLane
from atoll.resilience.lane import NoPlace
from atoll.simulate.message import Answer
from atoll.simulate.parts import Parts
from atoll.topology import Topology

FULL = str(NoPlace())
"""Also what a replica without room says."""


class Lane(CoreLane):
    """The way to one region for one service."""

    __slots__ = ("_clock", "_probing", "crowded")

    def __init__(self, clock: Clock, topology: Topology, parts: Parts, changed: Callable[[], None]) -> None:
        limit = parts.limit(clock, topology.bulkhead.floor)
        super().__init__(
            topology.bulkhead,
            limit,
            parts.bulkhead(clock, topology.bulkhead, limit),
            parts.breaker(clock, topology.breaker, changed),
        )
        self._clock = clock
        self._probing = 0
        self.crowded = 0
        """Requests that were let in while the breaker was half-open and another one was under way as its probe."""

    async def through(
        self,
        criticality: Criticality,
        *,
        last_resort: bool,
        remaining_s: float,
        send: Callable[[], Awaitable[Answer]],
    ) -> Answer:
        """As `atoll_gateway.layers.region.InRegion`, without metrics and streams. Raises `Failure`."""
        permit = self.try_enter(criticality)
        if permit is None:
            permit = await self.enter(criticality, last_resort=last_resort, remaining_s=remaining_s)
        probes = self.breaker.state is BreakerState.HALF_OPEN
        self._probing += probes
        self.crowded += self._probing > 1
        started = self._clock.monotonic()
        try:
            answer = await send()
        except Failure as failure:
            seconds = self._clock.monotonic() - started
            self.failed(permit, failure, seconds, criticality, full=str(failure) == FULL)
            raise
        except BaseException:
            self.given_up(permit, self._clock.monotonic() - started)
            raise
        else:
            self.answered(permit, answer.status, self._clock.monotonic() - started)
            return answer
        finally:
            self._probing -= probes
