"""Looks after the acceptor sets of the strong namespaces, from one region.

It founds them, moves them by one at a time to where the topology wants them, learns of changes, brings changes that
were left half-way to their end, and lets the region's own store in again after its disk was lost.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Collection, Mapping

from atoll.state.strong.backend import StrongError
from atoll.state.strong.membership import Configuration, Member, MembershipError
from atoll.state.strong.reconfiguration import Reconfiguration
from atoll.state.strong.registers import Acceptors, Registers, Unreachable
from atoll.state.strong.valkey_acceptor import ValkeyAcceptor

AGAIN_S = 1.0
"""Between two tries while something is not settled."""
LOOK_S = 10.0
"""Between two looks when all is."""

log = logging.getLogger(__name__)


class AcceptorKeeper:
    """One region's. Every step may be repeated, and be taken by several regions at once."""

    def __init__(
        self,
        region: str,
        own: ValkeyAcceptor,
        acceptors: Acceptors,
        registers: Registers,
        regions: Mapping[str, tuple[str, ...]],
        members: Collection[str],
    ) -> None:
        """`regions` are the namespaces with the regions in which the topology wants their acceptors; `members` are all
        regions that it has.
        """
        self._region = region
        self._own = own
        self._acceptors = acceptors
        self._registers = registers
        self._regions = regions
        self._members = members
        self._changed = asyncio.Event()

    def use(self, regions: Mapping[str, tuple[str, ...]], members: Collection[str]) -> None:
        """Takes up another topology, at once: new namespaces. Acceptors of known ones change through their own
        register.
        """
        self._regions = regions
        self._members = members
        self._changed.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._changed.clear()
            settled = await self._open()
            for namespace, regions in self._regions.items():
                settled = await self._tend(namespace, regions) and settled
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S if settled else AGAIN_S):
                    await self._changed.wait()

    async def _open(self) -> bool:
        """Makes the own store an acceptor. One that lost its disk gets an identity that is nobody's yet."""
        try:
            await self._own.open(uuid.uuid4().hex)
        except Unreachable as error:
            log.info("the acceptor can't be opened yet", extra={"reason": str(error)})
            return False
        return True

    async def _tend(self, namespace: str, regions: tuple[str, ...]) -> bool:
        """Whether the set is known, whole and settled."""
        reconfiguration = Reconfiguration(namespace, self._registers, self._acceptors)
        try:
            found = await reconfiguration.learn({*regions, *self._members})
            if found is None and self._region == regions[0] and await self._all_answer(reconfiguration):
                found = await reconfiguration.found(regions)
                log.info("acceptors are founded", extra={"namespace": namespace, "regions": _regions(found)})
            if found is None:
                return False
            found = await reconfiguration.finish()
            if not await self._take_part(reconfiguration, found):
                return False
            return self._region != regions[0] or await self._move(reconfiguration, found, regions)
        except (StrongError, MembershipError) as error:
            log.info("acceptors are not settled yet", extra={"namespace": namespace, "reason": str(error)})
            return False

    async def _take_part(self, reconfiguration: Reconfiguration, found: Configuration) -> bool:
        """Lets the own store in again if it stands in the set under an identity that it has lost."""
        lost = [member for member in found.members if member.region == self._region]
        described = await reconfiguration.describe((self._region,))
        if not lost or self._region not in described:
            return True  # none of the acceptors is here, or it can't say who it is
        identity = described[self._region].identity
        if identity is None or Member(self._region, identity) in lost:
            return identity is not None
        log.warning(
            "the store of this acceptor was lost; it joins as a new member",
            extra={"namespace": found.namespace},
        )
        await reconfiguration.join(Member(self._region, identity))
        for member in lost:
            await reconfiguration.leave(member)
        return True

    async def _all_answer(self, reconfiguration: Reconfiguration) -> bool:
        """Whether no region is left that might know of a set that was founded before the topology named these ones."""
        return set(self._members) <= (await reconfiguration.describe(self._members)).keys()

    async def _move(
        self, reconfiguration: Reconfiguration, found: Configuration, regions: tuple[str, ...]
    ) -> bool:
        """Takes the next step to where the topology wants the acceptors; whether there is none left."""
        joining = set(regions) - set(_regions(found))
        leaving = [member for member in found.members if member.region not in regions]
        if joining and len(found.members) <= len(regions):
            region = min(joining)
            described = (await reconfiguration.describe((region,))).get(region)
            if described is None or described.identity is None:
                return False  # it is tried again
            moved = await reconfiguration.join(Member(region, described.identity))
        elif leaving:
            moved = await reconfiguration.leave(leaving[0])
        else:
            return True
        log.info("acceptors have moved", extra={"namespace": found.namespace, "regions": _regions(moved)})
        return False


def _regions(configuration: Configuration) -> list[str]:
    return [member.region for member in configuration.members]
