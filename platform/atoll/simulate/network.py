"""The network between regions: delay, jitter, cuts, loss of connections. What is cut waits, as TCP does."""

import asyncio
from collections.abc import Iterator
from random import Random

from atoll.topology import Topology

ENTRY = "entry"
"""The end of links that an entry has."""


class ConnectionBroken(Exception):
    """The connection ended before the answer was complete."""


class Path:
    """One direction of a link."""

    __slots__ = ("_chance", "_jitter_s", "_opened", "base_s", "cuts", "loss", "slowed_s")

    def __init__(self, base_s: float, jitter_s: float, chance: Random) -> None:
        self.base_s = base_s
        self._jitter_s = jitter_s
        self._chance = chance
        self.cuts = 0
        """Faults that cut it now."""
        self.slowed_s = 0.0
        self.loss = 0.0
        self._opened: asyncio.Future[None] | None = None

    @property
    def delay_s(self) -> float:
        """What the next message takes."""
        return self.base_s + self.slowed_s + self._chance.random() * self._jitter_s

    async def carry(self) -> None:
        """Takes a message to the other end. While the path is cut it waits, and is sent anew afterwards."""
        while True:
            if self.cuts:
                await self._until_open()
            if self.loss and self._chance.random() < self.loss:
                raise ConnectionBroken
            await asyncio.sleep(self.delay_s)
            if not self.cuts:
                return

    def cut(self) -> None:
        self.cuts += 1

    def heal(self) -> None:
        self.cuts -= 1
        if not self.cuts and self._opened is not None:
            self._opened.set_result(None)
            self._opened = None

    async def _until_open(self) -> None:
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._opened)


class Network:
    """Every path of a topology, those of an entry included."""

    def __init__(self, topology: Topology, entry_rtt_ms: float, chance: Random) -> None:
        self._paths: dict[tuple[str, str], Path] = {}
        for link in topology.links.values():
            self._join(link.a, link.b, link.rtt_ms, link.jitter_ms, chance)
        for region in topology.regions:
            self._join(ENTRY, region, entry_rtt_ms, 1.0, chance)

    def _join(self, a: str, b: str, rtt_ms: float, jitter_ms: float, chance: Random) -> None:
        for ends in ((a, b), (b, a)):
            self._paths[ends] = Path(rtt_ms / 2000.0, jitter_ms / 2000.0, chance)

    def path(self, a: str, b: str) -> Path:
        """The way from one region to another one."""
        return self._paths[a, b]

    def chosen(self, region: str, other: str | None, *, one_way: bool) -> Iterator[tuple[str, str]]:
        """Directions that a fault on links means: those from `region` (to `other`), and those back unless `one_way`."""
        for a, b in self._paths:
            if a == region and other in (None, b):
                yield a, b
                if not one_way:
                    yield b, a
