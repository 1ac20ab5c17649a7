"""One attempt in one region: straight to a replica in the own one, over the link to a gateway in another."""

from collections.abc import Awaitable, Callable

from atoll.clock import Clock
from atoll.telemetry.metrics import AttemptOutcome, GatewayMetrics
from atoll_gateway.message import Attempt, Failed, Request, Response

Send = Callable[[Request, str], Awaitable[Response]]


class InRegion:
    """Picks the way to a region and keeps account of what came of it."""

    def __init__(
        self, region: str | None, clock: Clock, metrics: GatewayMetrics, local: Send | None, remote: Send
    ) -> None:
        self._own = region
        self._clock = clock
        self._metrics = metrics
        self._local = local
        self._remote = remote

    async def __call__(self, request: Request, region: str) -> Response:
        send = self._local if region == self._own and self._local is not None else self._remote
        started = self._clock.monotonic()
        outcome, told = AttemptOutcome.CANCELLED, "cancelled"
        try:
            response = await send(request, region)
            outcome, told = AttemptOutcome.ANSWERED, str(response.status)
        except Failed as error:
            outcome, told = _outcome(error), error.problem.type
            raise
        finally:
            milliseconds = (self._clock.monotonic() - started) * 1000
            request.attempts.append(Attempt(region, milliseconds, told))
            self._metrics.service(request.service.name).attempt(region, outcome)
        return response


def _outcome(error: Failed) -> AttemptOutcome:
    if error.refused:
        return AttemptOutcome.REFUSED
    return AttemptOutcome.LOST if error.sent else AttemptOutcome.UNREACHABLE
