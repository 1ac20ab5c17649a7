"""A replica as a gateway's balancing sees it."""

import asyncio

from atoll.clock import Clock
from atoll.resilience.outlier import Host
from atoll.simulate.replica import SimulatedReplica


class ReplicaHost(Host):
    """One of a few that do the same."""

    __slots__ = ("asked", "replica", "waits")

    def __init__(self, clock: Clock, replica: SimulatedReplica) -> None:
        super().__init__(clock)
        self.replica = replica
        self.asked = False
        """Whether it is being asked whether it is alive."""
        self.waits: dict[asyncio.Future[int], bool] = {}
        """Requests that wait for it, and whether they may be sent again."""
