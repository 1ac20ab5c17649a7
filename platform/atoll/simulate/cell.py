"""A region as the simulator has it: replicas, and places in which gateway processes live and die."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from atoll.simulate.replica import SimulatedReplica

LISTED_AFTER_S = 1.0
"""A replica that came up is in Serve's status after this; one that died is out of it at the next look."""


class Process(Protocol):
    """A running gateway."""

    def die(self) -> None:
        """Ends at once, with all that it has."""


class GatewaySlot:
    """The address of a gateway. Processes come and go; it stays."""

    __slots__ = ("_killed", "_runs", "_stalled", "_start", "name", "process", "region")

    def __init__(
        self, name: str, region: str | None, start: Callable[["GatewaySlot"], Process | None]
    ) -> None:
        self.name = name
        self.region = region
        """None for an entry."""
        self._start = start
        self._killed = 0
        self._stalled = 0
        self._runs: asyncio.Future[None] | None = None
        self.process: Process | None = None

    @property
    def stalled(self) -> bool:
        """Whether it stands still: it accepts and does nothing."""
        return self._stalled > 0

    def boot(self) -> None:
        self.process = self._start(self)

    def kill(self) -> None:
        self._killed += 1
        if self.process is not None:
            self.process.die()
            self.process = None

    def restart(self) -> None:
        self._killed -= 1
        if not self._killed and self.process is None:
            self.boot()

    def stall(self) -> None:
        self._stalled += 1

    def go_on(self) -> None:
        self._stalled -= 1
        if not self._stalled and self._runs is not None:
            self._runs.set_result(None)
            self._runs = None

    async def until_runs(self) -> None:
        while self._stalled:
            if self._runs is None:
                self._runs = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._runs)


class Cell:
    """One region."""

    def __init__(self, region: str, zone: str, replicas: Mapping[str, list[SimulatedReplica]]) -> None:
        self.region = region
        self.zone = zone
        self.replicas = replicas
        """By service."""
        self.gateways: list[GatewaySlot] = []
        self.drains = 0
        """Faults that drain it now."""
        self.stale = 0
        """Faults that keep its reports from changing."""

    @property
    def draining(self) -> bool:
        return self.drains > 0

    def listed(self, service: str, now: float) -> list[SimulatedReplica]:
        """The replicas that Serve's status names."""
        return [
            replica
            for replica in self.replicas.get(service, ())
            if replica.up and (replica.since == 0.0 or now - replica.since >= LISTED_AFTER_S)
        ]

    def every_replica(self) -> list[SimulatedReplica]:
        return [replica for group in self.replicas.values() for replica in group]
