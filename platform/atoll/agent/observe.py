"""Looks at a cell and sums up what it sees."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from redis.asyncio import Redis

from atoll.agent.config import AgentConfig
from atoll.agent.report import CellReport, GatewayReport
from atoll.cell.gateway_view import GatewayView, GatewayViews, ServiceSeen
from atoll.cell.status import ReplicaCount
from atoll.clock import Clock
from atoll.secrets import read_secret
from atoll.serve.client import ServeClient, ServeError
from atoll.stores import StoreRefused, open_store, ping


class Observer:
    """Asks a cell's gateways, its Serve and its stores; nothing it asks of can make it fail."""

    def __init__(self, config: AgentConfig, clock: Clock) -> None:
        """Raises `SecretError` if a secret can't be read."""
        self._config = config
        self._clock = clock
        self._views = GatewayViews(read_secret(config.admin_token_file))
        self._serve = ServeClient(config.dashboard.url, read_secret(config.ray_token_file))
        self._cache = open_store(config.cache)
        self._state = open_store(config.state)

    def use(self, config: AgentConfig) -> None:
        """Takes up other gateways; all else stays."""
        self._config = config

    async def close(self) -> None:
        await self._views.close()
        await self._serve.close()
        await self._cache.aclose()
        await self._state.aclose()

    async def observe(self) -> CellReport:
        """One look, all questions side by side."""
        views, replicas, cache, state = await asyncio.gather(
            self._gateways(), self._replicas(), _answers(self._cache), _answers(self._state)
        )
        present = [view for view in views.values() if view is not None]
        return CellReport(
            region=self._config.region,
            at=datetime.fromtimestamp(self._clock.wall(), UTC).isoformat(timespec="milliseconds"),
            gateways={name: _gateway(view) for name, view in views.items()},
            in_flight=_sum(
                {name: s.local_in_flight for name, s in view.services.items()} for view in present
            ),
            # Every gateway knows the whole region's replicas: the largest is the region's, the sum counts them twice.
            capacity=_largest(view.services for view in present),
            held=sum(view.in_flight for view in present),
            replicas=replicas or {},
            serve_answers=replicas is not None,
            cache_answers=cache,
            state_answers=state,
        )

    async def _gateways(self) -> dict[str, GatewayView | None]:
        names = list(self._config.gateways)
        views = await asyncio.gather(*(self._views.view(self._config.gateways[name]) for name in names))
        return dict(zip(names, views, strict=True))

    async def _replicas(self) -> dict[str, ReplicaCount] | None:
        try:
            status = await self._serve.applications()
        except ServeError:
            return None
        if not status.has_controller:
            return None
        return {
            name: ReplicaCount(
                running=sum(deployment.running for deployment in application.deployments.values()),
                target=sum(deployment.target_num_replicas for deployment in application.deployments.values()),
            )
            for name, application in status.applications.items()
        }


async def _answers(store: Redis) -> bool:
    try:
        return await ping(store)
    except StoreRefused:
        return False


def _gateway(view: GatewayView | None) -> GatewayReport:
    if view is None:
        return GatewayReport(answers=False)
    return GatewayReport(
        answers=True,
        draining=view.draining,
        topology_digest=view.topology.digest,
        topology_error=view.topology.error,
        certificate=view.certificate,
    )


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)


def _largest(services: Iterable[Mapping[str, ServiceSeen]]) -> dict[str, int]:
    largest: dict[str, int] = {}
    for seen in services:
        for name, service in seen.items():
            largest[name] = max(largest.get(name, 0), service.capacity)
    return largest
