"""One attempt in one region, if there is a place for it: straight to a replica in the own one, over the link to a
gateway in another.

Every (region, service) has a bulkhead and a breaker of its own, so that one that is slow or fails takes nothing from
the others. A request that may also go to another region doesn't wait for a place: it goes there instead.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from atoll.clock import Clock
from atoll.resilience.breaker import Breaker, Permit
from atoll.resilience.bulkhead import Bulkhead
from atoll.resilience.criticality import Criticality
from atoll.resilience.gradient import AdaptiveLimit
from atoll.resilience.lane import BreakerOpen, Lane, LaneStatistics, NoPlace
from atoll.telemetry.metrics import AttemptOutcome, GatewayMetrics, ServiceRecorder
from atoll.topology import BreakerPolicy, BulkheadPolicy, Service, ServiceKind, Topology
from atoll_gateway import problems
from atoll_gateway.message import Attempt, Failed, Request, Response

Send = Callable[[Request, str], Awaitable[Response]]


class _Lane(Lane):
    """With what else is the same for all its requests, so that they find everything by one lookup."""

    __slots__ = ("recorder", "region", "send")

    def __init__(
        self,
        region: str,
        send: Send,
        recorder: ServiceRecorder,
        policy: BulkheadPolicy,
        limit: AdaptiveLimit,
        bulkhead: Bulkhead,
        breaker: Breaker,
    ) -> None:
        super().__init__(policy, limit, bulkhead, breaker)
        self.region = region
        self.send = send
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
        self._now = clock.monotonic
        self._metrics = metrics
        self._local = local
        self._remote = remote
        self._capacity = capacity
        self._changed = changed
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._bulkhead = BulkheadPolicy()
        self._breaker = BreakerPolicy()
        self._services: Mapping[str, Service] = {}
        self.pressed: set[str] = set()
        """Services of which a request has found no place lately. A hint: whether there is one now says `full`."""

    def use(self, topology: Topology) -> None:
        """Takes up a topology. Where policies changed it begins anew; requests under way end by the old ones."""
        self._lanes = {
            (region, service): lane
            for (region, service), lane in self._lanes.items()
            if service in topology.services
            and region in topology.regions
            and self._bulkhead == topology.bulkhead
        }
        if self._breaker != topology.breaker:
            for lane in self._lanes.values():
                lane.breaker.use(topology.breaker)
        self._bulkhead = topology.bulkhead
        self._breaker = topology.breaker
        self._services = topology.services

    def poll(self) -> None:
        """Looks at what the regions report as their capacity. Called a few times a second."""
        self.pressed.clear()
        for (region, service), lane in self._lanes.items():
            self._bound(lane, region, service)

    def _bound(self, lane: _Lane, region: str, service: str) -> None:
        """Bounds a lane's limit: from below by what lets Serve add replicas there, from above by what the own region
        takes. On the way to another one more are under way than it works on, by the round trip; its own gateways see to
        its places.
        """
        capacity = self._capacity(region, service)
        known = self._services.get(service)
        scaled = known is not None and known.kind is ServiceKind.SERVE
        least = known.replicas.asking(capacity) if known and scaled else 0
        lane.bound(capacity if region == self._own else None, least)

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
        permit = lane.try_enter(request.criticality)
        if permit is None:
            permit = await self._enter(request, lane)
        now = self._now
        started = now()
        try:
            response = await lane.send(request, region)
        except Failed as error:
            seconds = now() - started
            problem = error.problem.type
            lane.failed(
                permit,
                error,
                seconds,
                request.criticality,
                isolated=error.isolated,
                full=problem == "full",
            )
            _note(request, lane, seconds, problem, _outcome(error))
            raise
        except BaseException:
            seconds = now() - started
            lane.given_up(permit, seconds)
            _note(request, lane, seconds, "cancelled", AttemptOutcome.CANCELLED)
            raise
        seconds = now() - started
        close = response.close
        lane.answered(permit, response.status, seconds, held=close is not None)
        if close is not None:
            _keep_place(lane, response, close)
        _note(request, lane, seconds, response.status, AttemptOutcome.ANSWERED)
        return response

    async def _enter(self, request: Request, lane: _Lane) -> Permit:
        """Lets a request in that has to wait or to be a probe. Raises `Failed` if it can't be let in."""
        service, region = request.service.name, lane.region
        try:
            return await lane.enter(
                request.criticality,
                last_resort=_last_resort(request, region),
                remaining_s=request.deadline.remaining_s,
            )
        except NoPlace as refusal:
            self.pressed.add(service)
            problem, retry_after_s = problems.full(service, region), refusal.retry_after_s
        except BreakerOpen as refusal:
            problem, retry_after_s = problems.breaker_open(service, region), refusal.retry_after_s
        _note(request, lane, 0.0, problem.type, AttemptOutcome.REFUSED)
        raise Failed(problem, sent=False, refused=True, retry_after_s=retry_after_s)

    def _open(self, region: str, service: str) -> _Lane:
        local = region == self._own and self._local is not None
        limit = AdaptiveLimit(self._clock, self._bulkhead.floor)
        lane = _Lane(
            region,
            self._local if local and self._local is not None else self._remote,
            self._metrics.service(service),
            self._bulkhead,
            limit,
            Bulkhead(self._clock, self._bulkhead, limit),
            Breaker(self._clock, self._breaker, self._changed),
        )
        self._bound(lane, region, service)
        self._lanes[region, service] = lane
        return lane

    def statistics(self) -> Mapping[tuple[str, str], LaneStatistics]:
        """A snapshot a (region, service) that a request has gone to."""
        return {key: lane.statistics() for key, lane in self._lanes.items()}


class _Place:
    """The place of an answer that is still on its way; free once that has ended or is closed."""

    __slots__ = ("_close", "_lane")

    def __init__(self, lane: _Lane, close: Callable[[], None]) -> None:
        self._lane = lane
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
            self._lane.leave()
            close()


def _keep_place(lane: _Lane, response: Response, close: Callable[[], None]) -> None:
    place = _Place(lane, close)
    response.close = place.close
    if not isinstance(response.body, bytes):
        response.body = place.chunks(response.body)


def _last_resort(request: Request, region: str) -> bool:
    """Whether every other region that the request may go to has been tried."""
    ranking = request.ranking
    if request.forwarded or ranking is None:
        return True
    tried = {attempt.region for attempt in request.attempts}
    return all(other == region or other in tried for other in ranking.regions)


def _note(request: Request, lane: _Lane, seconds: float, told: int | str, outcome: AttemptOutcome) -> None:
    """Keeps account of an attempt that has ended."""
    request.attempts.append(Attempt(lane.region, seconds * 1000.0, told))
    lane.recorder.attempt(lane.region, outcome)


def _outcome(error: Failed) -> AttemptOutcome:
    if error.refused:
        return AttemptOutcome.REFUSED
    return AttemptOutcome.LOST if error.sent else AttemptOutcome.UNREACHABLE
