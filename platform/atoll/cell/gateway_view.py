"""What gateways say of themselves and of the regions, asked of their admin listener (``GET /-/regions``)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
from pydantic import TypeAdapter, ValidationError

from atoll.tls import TlsStatistics
from atoll.topology.wiring import Address

TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class ServiceSeen:
    """A service as a gateway uses it in its own region."""

    local_in_flight: int
    capacity: int
    in_flight: int = 0
    """Requests that this gateway has taken and not yet answered, wherever they are served."""


@dataclass(frozen=True, slots=True)
class LoadSeen:
    """A service's load in a region, over the gateways there that were heard lately."""

    in_flight: int
    capacity: int | None
    """None if nothing was heard."""


@dataclass(frozen=True, slots=True)
class RegionSeen:
    """A region as a gateway sees it."""

    healthy: bool
    reason: str
    draining: bool = False
    replicas: Mapping[str, int | None] = field(default_factory=dict)
    load: Mapping[str, LoadSeen] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopologySeen:
    digest: str
    error: str | None


@dataclass(frozen=True, slots=True)
class GatewayView:
    """The part of ``atoll.regions/1`` that the cell reads; the rest is left out."""

    gateway: str
    draining: bool
    topology: TopologySeen
    services: Mapping[str, ServiceSeen]
    regions: Mapping[str, RegionSeen]
    certificate: TlsStatistics | None = None

    @property
    def in_flight(self) -> int:
        """Requests that the gateway holds, its own and those it serves for others."""
        return sum(max(service.in_flight, service.local_in_flight) for service in self.services.values())


_VIEW: TypeAdapter[GatewayView] = TypeAdapter(GatewayView)


class GatewayViews:
    """Asks gateways for their view; one pool of connections for all of them."""

    def __init__(self, admin_token: str) -> None:
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {admin_token}"}, timeout=TIMEOUT_S, trust_env=False
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def view(self, admin: Address) -> GatewayView | None:
        """A gateway's view, or None if it gives none: it is down, frozen, or still starting."""
        try:
            response = await self._client.get(f"{admin.url}/-/regions")
            return _VIEW.validate_json(response.content) if response.is_success else None
        except (httpx.TransportError, ValidationError):
            return None

    async def alive(self, address: Address) -> bool:
        """Whether a gateway answers at one of its addresses."""
        try:
            return (await self._client.get(f"{address.url}/-/healthz")).is_success
        except httpx.TransportError:
            return False
