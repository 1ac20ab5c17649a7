"""Strong registers in three regions far from each other, on virtual time: agents with acceptor and proposer, and the
processes of services that ask their own region's agent. What is asked of agents is counted.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from functools import partial
from random import Random

from tests.unit.shop_state import shop_state

from atoll.simulate.loop import VirtualLoop
from atoll.state.sdk.access import StateAccess
from atoll.state.strong.acceptor import Acceptor
from atoll.state.strong.backend import Change, Outcome, StrongBackend, Unavailable, Versioned
from atoll.state.strong.home import Homes, Passing
from atoll.state.strong.messages import Reply, Request
from atoll.state.strong.reconfiguration import Reconfiguration
from atoll.state.strong.registers import Registers, Unreachable

SHOP_RTT_S = {
    frozenset(("us-east", "eu-west")): 0.074,
    frozenset(("us-east", "ap-northeast")): 0.165,
    frozenset(("eu-west", "ap-northeast")): 0.232,
}
"""Round trips between the regions of `shop.toml`."""
DISK_S = 0.002
NEAR_S = 0.001
"""From a process to its region's agent and back."""
NAMESPACES = ("stock", "payments", "orders")


class Links:
    """The ways between regions. Of a cut one nothing comes back."""

    def __init__(self, rtt_s: Mapping[frozenset[str], float]) -> None:
        self.rtt_s = rtt_s
        self.cut: set[frozenset[str]] = set()
        self.regions = sorted({region for link in rtt_s for region in link})

    def works(self, a: str, b: str) -> bool:
        return frozenset((a, b)) not in self.cut

    async def way(self, a: str, b: str) -> None:
        if not self.works(a, b):
            raise Unreachable("no connection")
        await asyncio.sleep(DISK_S / 2 if a == b else self.rtt_s[frozenset((a, b))] / 2)


class From:
    """The way from a region to the acceptors."""

    def __init__(self, region: str, links: Links, acceptors: Mapping[str, Acceptor]) -> None:
        self._region = region
        self._links = links
        self._acceptors = acceptors

    async def ask(self, region: str, request: Request) -> Reply:
        await self._links.way(self._region, region)
        await asyncio.sleep(DISK_S)
        reply = self._acceptors[region].answer(request)
        await self._links.way(region, self._region)
        return reply


class Other:
    """The proposer of another region."""

    def __init__(self, region: str, other: str, links: Links, asked: StrongBackend) -> None:
        self._region = region
        self._other = other
        self._links = links
        self._asked = asked

    async def get(self, namespace: str, key: str, *, timeout_s: float | None = None) -> Versioned | None:
        await self._way(self._region, self._other)
        found = await self._asked.get(namespace, key, timeout_s=timeout_s)
        await self._way(self._other, self._region)
        return found

    async def change(
        self, namespace: str, key: str, change: Change, *, timeout_s: float | None = None
    ) -> Outcome:
        await self._way(self._region, self._other)
        outcome = await self._asked.change(namespace, key, change, timeout_s=timeout_s)
        await self._way(self._other, self._region)
        return outcome

    async def _way(self, a: str, b: str) -> None:
        try:
            await self._links.way(a, b)
        except Unreachable as error:
            raise Unavailable(str(error)) from error


class Agent:
    """What a process of its region asks; counts what it is asked."""

    def __init__(self, homes: StrongBackend) -> None:
        self._homes = homes
        self.reads: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        """By namespace."""

    async def get(self, namespace: str, key: str, *, timeout_s: float | None = None) -> Versioned | None:
        self.reads[namespace] += 1
        await asyncio.sleep(NEAR_S / 2)
        found = await self._homes.get(namespace, key, timeout_s=timeout_s)
        await asyncio.sleep(NEAR_S / 2)
        return found

    async def change(
        self, namespace: str, key: str, change: Change, *, timeout_s: float | None = None
    ) -> Outcome:
        self.changes[namespace] += 1
        await asyncio.sleep(NEAR_S / 2)
        outcome = await self._homes.change(namespace, key, change, timeout_s=timeout_s)
        await asyncio.sleep(NEAR_S / 2)
        return outcome


class Far:
    """Three regions, each an acceptor, a proposer and an agent. Begin with `founded`."""

    def __init__(self, loop: VirtualLoop, rtt_s: Mapping[frozenset[str], float] = SHOP_RTT_S) -> None:
        self._loop = loop
        self.links = Links(rtt_s)
        regions = self.links.regions
        acceptors = {region: Acceptor() for region in regions}
        for region, acceptor in acceptors.items():
            acceptor.open(f"store-of-{region}")
        self._ways = {region: From(region, self.links, acceptors) for region in regions}
        self.registers = {
            region: Registers(way, region, Random(region)) for region, way in self._ways.items()
        }
        proposers: dict[str, dict[str, StrongBackend]] = {region: {} for region in regions}
        reachable = {region: partial(self.links.works, region) for region in regions}
        for region, known in proposers.items():
            known[region] = self.registers[region]
            for other in regions:
                if other != region:
                    asked = Passing(other, proposers[other], lambda _: regions, reachable[other])
                    known[other] = Other(region, other, self.links, asked)
        self.agents = {
            region: Agent(Homes(region, known, lambda _: regions, loop.clock, reachable[region]))
            for region, known in proposers.items()
        }

    async def founded(self) -> "Far":
        for region in self.links.regions:
            for namespace in NAMESPACES:
                change = Reconfiguration(namespace, self.registers[region], self._ways[region])
                if region == self.links.regions[0]:
                    await change.found(self.links.regions)
                await change.learn(self.links.regions)
        return self

    def process(self, region: str) -> StateAccess:
        """A process of a service in a region."""
        return shop_state(self._loop.clock, self.agents[region], Random(region))
