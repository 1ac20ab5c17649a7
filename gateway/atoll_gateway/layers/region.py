"""One attempt in one region, if there is a place for it: straight to a replica in the own one, over the link to a
gateway in another.

Every (region, service) has a bulkhead and a breaker of its own, so that one that is slow or fails takes nothing from
the others. A request that may also go to another region doesn't wait for a place: it goes there instead.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from atoll.clock import Clock
from atoll.resilience.breaker import Breaker, BreakerStatistics
from atoll.resilience.bulkhead import Bulkhead, BulkheadStatistics
from atoll.resilience.criticality import Criticality
from atoll.resilience.gradient import AdaptiveLimit, LimitStatistics
from atoll.telemetry.metrics import AttemptOutcome, GatewayMetrics, ServiceRecorder
from atoll.topology import BreakerPolicy, BulkheadPolicy, Topology
from atoll_gateway import problems
from atoll_gateway.message import Attempt, Failed, Request, Response

Send = Callable[[Request, str], Awaitable[Response]]

FAILURES = frozenset({502, 503, 504})
"""Answers that count as failures of the region: Envoy's ``gateway-error``."""


@dataclass(frozen=True, slots=True)
class LaneStatistics:
    """A snapshot of one (region, service)."""

    bulkhead: BulkheadStatistics
    limit: LimitStatistics
    breaker: BreakerStatistics


class _Lane:
    """What one (region, service) has of its own. Found by one lookup in the way of a request."""

    __slots__ = ("breaker", "bulkhead", "limit", "recorder", "region", "send")

    def __init__(
        self,
        region: str,
        send: Send,
        limit: AdaptiveLimit,
        bulkhead: Bulkhead,
        breaker: Breaker,
        recorder: ServiceRecorder,
    ) -> None:
        self.region = region
        self.send = send
        self.limit = limit
        self.bulkhead = bulkhead
        self.breaker = breaker
        self.recorder = recorder


class InRegion:
    """Picks the way to a region, sees to it that it has room, and keeps account of what came of it."""

    def __init__(
        self,
        region: str | None,
        clock: Clock,
        metrics: GatewayMetrics,
        local: Send | None,
        remote: Send,
        *,
        capacity: Callable[[str, str], int | None],
        changed: Callable[[], None],
    ) -> None:
        """`capacity` tells how many requests of a service (its second argument) a region takes at once, None if that is
        not known; `changed` is called when a breaker opened or closed.
        """
        self._own = region
        self._clock = clock
        self._metrics = metrics
        self._local = local
        self._remote = remote
        self._capacity = capacity
        self._changed = changed
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._bulkhead = BulkheadPolicy()
        self._breaker = BreakerPolicy()
        self.pressed: set[str] = set()
        """Services of which a request has found no place lately. A hint: whether there is one now says `full`."""

    def use(self, topology: Topology) -> None:
        """Takes up a topology. Where policies changed it begins anew; requests under way end by the old ones."""
        self._lanes = {
            (region, service): lane
            for (region, service), lane in self._lanes.items()
            if service in topology.services and self._bulkhead == topology.bulkhead
        }
        if self._breaker != topology.breaker:
            for lane in self._lanes.values():
                lane.breaker.use(topology.breaker)
        self._bulkhead = topology.bulkhead
        self._breaker = topology.breaker

    def poll(self) -> None:
        """Looks at what the regions report as their capacity. Called a few times a second."""
        self.pressed.clear()
        for (region, service), lane in self._lanes.items():
            lane.limit.cap(self._most(region, service))

    def _most(self, region: str, service: str) -> int | None:
        """What bounds a lane's limit: what the own region takes. On the way to another one more are under way than it
        works on, by the round trip; its own gateways see to its places.
        """
        return self._capacity(region, service) if region == self._own else None

    def full(self, service: str, regions: Sequence[str], criticality: Criticality) -> bool:
        """Whether every one of these regions would turn a request away: no place in any, and no room to wait for one.

        A request waits in one region only, the last that it comes to, so one full queue is enough.
        """
        queue_is_full = False
        for region in regions:
            lane = self._lanes.get((region, service))
            if lane is None or lane.bulkhead.has_place(criticality):
                return False
            queue_is_full = queue_is_full or lane.bulkhead.queue_is_full(criticality)
        return queue_is_full

    async def __call__(self, request: Request, region: str) -> Response:
        try:
            lane = self._lanes[region, request.service.name]
        except KeyError:
            lane = self._open(region, request.service.name)
        bulkhead = lane.bulkhead
        if not bulkhead.try_acquire(request.criticality):
            await self._wait(request, lane)
        breaker = lane.breaker
        permit = breaker.admit()
        if permit is None and _last_resort(request, lane.region):
            permit = breaker.admit_last()
        if permit is None:
            bulkhead.release(None, ok=True)
            problem = problems.breaker_open(request.service.name, region)
            raise _refused(
                request,
                lane,
                Failed(problem, sent=False, refused=True, retry_after_s=max(1, ceil(breaker.retry_after_s))),
            )
        started = self._clock.monotonic()
        outcome, told = AttemptOutcome.CANCELLED, "cancelled"
        tell = breaker.ignored
        ok, learns, held = False, True, False
        try:
            response = await lane.send(request, region)
            outcome, told = AttemptOutcome.ANSWERED, str(response.status)
            ok = response.status not in FAILURES
            tell = breaker.succeeded if ok else breaker.failed
            if response.close is not None:
                held = True
                place = _Place(bulkhead, response.close)
                response.close = place.close
                if not isinstance(response.body, bytes):
                    response.body = place.chunks(response.body)
        except Failed as error:
            outcome, told = _outcome(error), error.problem.type
            if error.isolated:
                ok, learns = True, False
            elif not error.refused:
                tell = breaker.failed
            else:
                learns = False
                ok = not _turned_away(request, error)
            raise
        finally:
            seconds = self._clock.monotonic() - started
            tell(permit)
            if not held:
                bulkhead.release(seconds if learns else None, ok=ok)
            elif ok:
                bulkhead.sample(seconds)
            request.attempts.append(Attempt(region, seconds * 1000, told))
            lane.recorder.attempt(region, outcome)
        return response

    async def _wait(self, request: Request, lane: _Lane) -> None:
        """Waits for a place, unless there is another region to go to first."""
        wait_s = 0.0
        if _last_resort(request, lane.region):
            wait_s = min(self._bulkhead.wait_s, request.deadline.remaining_s)
        if not await lane.bulkhead.acquire(request.criticality, wait_s):
            self.pressed.add(request.service.name)
            problem = problems.full(request.service.name, lane.region)
            raise _refused(request, lane, Failed(problem, sent=False, refused=True, retry_after_s=1))

    def _open(self, region: str, service: str) -> _Lane:
        local = region == self._own and self._local is not None
        limit = AdaptiveLimit(self._clock, self._bulkhead.floor)
        lane = _Lane(
            region,
            self._local if local and self._local is not None else self._remote,
            limit,
            Bulkhead(self._clock, self._bulkhead, limit),
            Breaker(self._clock, self._breaker, self._changed),
            self._metrics.service(service),
        )
        limit.cap(self._most(region, service))
        self._lanes[region, service] = lane
        return lane

    def statistics(self) -> Mapping[tuple[str, str], LaneStatistics]:
        """A snapshot a (region, service) that a request has gone to."""
        return {
            key: LaneStatistics(
                lane.bulkhead.statistics(), lane.limit.statistics(), lane.breaker.statistics()
            )
            for key, lane in self._lanes.items()
        }


class _Place:
    """The place of an answer that is still on its way; free once that has ended or is closed."""

    __slots__ = ("_bulkhead", "_close")

    def __init__(self, bulkhead: Bulkhead, close: Callable[[], None]) -> None:
        self._bulkhead = bulkhead
        self._close: Callable[[], None] | None = close

    async def chunks(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in body:
                yield chunk
        finally:
            self.close()

    def close(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            self._bulkhead.release(None, ok=True)
            close()


def _last_resort(request: Request, region: str) -> bool:
    """Whether every other region that the request may go to has been tried."""
    ranking = request.ranking
    if request.forwarded or ranking is None:
        return True
    tried = {attempt.region for attempt in request.attempts}
    return all(other == region or other in tried for other in ranking.regions)


def _refused(request: Request, lane: _Lane, failure: Failed) -> Failed:
    """Keeps account of a request that was not sent."""
    request.attempts.append(Attempt(lane.region, 0.0, failure.problem.type))
    lane.recorder.attempt(lane.region, AttemptOutcome.REFUSED)
    return failure


def _turned_away(request: Request, error: Failed) -> bool:
    """Whether a refusal says that the limit is too high. The least critical are refused while there is room."""
    return error.problem.type == "full" and request.criticality is not Criticality.SHEDDABLE


def _outcome(error: Failed) -> AttemptOutcome:
    if error.refused:
        return AttemptOutcome.REFUSED
    return AttemptOutcome.LOST if error.sent else AttemptOutcome.UNREACHABLE
