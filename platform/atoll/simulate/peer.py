"""A gateway of another region as this one sees it, and how an attempt there can end without an answer."""

import asyncio
from dataclasses import dataclass

from atoll.resilience.health import PeerHealth
from atoll.resilience.outlier import Host
from atoll.simulate.cell import GatewaySlot
from atoll.simulate.loop import VirtualClock
from atoll.simulate.message import Answer, Report


class Refused(Exception):
    """Nobody listens there."""


class Abandoned(Exception):
    """The peer was found to be down while this attempt waited for it."""


@dataclass(slots=True)
class PeerLoad:
    """As `atoll_gateway.peers.PeerLoad`."""

    in_flight: int
    capacity: int
    heard: float


class Peer(Host):
    """A gateway of another region, as this one sees it."""

    __slots__ = ("health", "loads", "region", "report", "slot", "trusted", "waiting", "waits")

    def __init__(self, slot: GatewaySlot, region: str, health: PeerHealth, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.slot = slot
        self.region = region
        self.health = health
        self.report: Report | None = None
        self.loads: dict[str, PeerLoad] = {}
        self.waiting = 0
        self.trusted = False
        self.waits: dict[asyncio.Future[Answer], None] = {}
        """Attempts that wait for it."""
