"""Has a region's Serve start replicas as soon as another region is lost, ahead of the load that will come from there.

What the region's own gateways know is asked of their admin listeners; what follows from it is decided in
`atoll.serve.ahead`, and done by the one writer of the region's Serve set.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from atoll.cell.gateway_view import GatewayView
from atoll.cell.gateway_view import RegionSeen as Seen
from atoll.clock import Clock
from atoll.serve.ahead import Ahead, AheadStatistics, RegionSeen
from atoll.serve.client import ServeError
from atoll.topology import SuccessionError, Topology, TopologyError, check_succession, load

LOOK_S = 0.5
"""As often as gateways hear of each other."""
RAISE_TIMEOUT_S = 10.0
"""Serve takes a raised set up in 0.05 s. After this the world may be another one: look again, and decide anew."""

log = logging.getLogger(__name__)


class FollowedTopology:
    """The topology in force, as running gateways take it up: the file's, while that is sound and may follow.

    A look at it costs one `stat`.
    """

    def __init__(
        self, path: Path, regions: int | None, first: Topology, *, members_change: bool = False
    ) -> None:
        """`members_change`: regions may come and go with the file; else somebody else sees to that first."""
        self._path = path
        self._members_change = members_change
        self._regions = regions
        self._stamp: tuple[int, int] | None = None
        self.current = first

    def poll(self) -> Topology:
        """Takes up what has changed. Of a file that can't be used gateways tell: then the one before goes on."""
        try:
            status = self._path.stat()
        except OSError:
            return self.current
        stamp = (status.st_ino, status.st_mtime_ns)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                candidate = load(self._path, regions=self._regions)
                running = candidate.regions if self._members_change else self.current.regions
                check_succession(self.current, candidate, running)
            except (TopologyError, SuccessionError):
                return self.current
            self.current = candidate
        return self.current


class RaisesAhead:
    """Looks twice a second, and has Serve keep what follows. Lives as long as its `run`."""

    def __init__(
        self,
        region: str,
        look: Callable[[], Awaitable[Iterable[GatewayView | None]]],
        raise_to: Callable[[Mapping[str, int]], Awaitable[bool]],
        topology: Callable[[], Topology],
        clock: Clock,
    ) -> None:
        """`look` asks the region's gateways, `raise_to` is `ServeSet.raise_to`, `topology` tells what is in force."""
        self._look = look
        self._raise_to = raise_to
        self._topology = topology
        self._ahead = Ahead(region, clock)
        self._trouble = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.step()

    async def step(self) -> None:
        """One look, and what follows from it. What can't be done now is tried again at the next."""
        views = [view for view in await self._look() if view is not None]
        if not views:
            return
        before = self._ahead.statistics()
        wanted = self._ahead.look(self._topology(), as_seen(views))
        self._tell(before)
        try:
            async with asyncio.timeout(RAISE_TIMEOUT_S):
                await self._raise_to(wanted)
        except (ServeError, TimeoutError) as error:
            reason = str(error) or f"nothing was taken up within {RAISE_TIMEOUT_S:.0f} s"
            self._note(reason if wanted else "")
        else:
            self._note("")

    def statistics(self) -> AheadStatistics:
        return self._ahead.statistics()

    def _tell(self, before: AheadStatistics) -> None:
        after = self._ahead.statistics()
        for one in after.raises:
            if one not in before.raises:
                log.warning(
                    "replicas are raised ahead of load to come",
                    extra={
                        "service": one.service,
                        "replicas": one.replicas,
                        "lost": sorted(one.lost),
                        "own": round(one.own, 1),
                        "more": round(one.more, 1),
                    },
                )
        for one in before.raises:
            if one not in after.raises:
                log.info("replicas are Serve's to decide again", extra={"service": one.service})

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("replicas can't be raised", extra={"reason": trouble})
        self._trouble = trouble


def as_seen(views: Iterable[GatewayView]) -> Mapping[str, RegionSeen]:
    """What the gateways of a region know of all regions, together: one that trusts a region is enough. Pure.

    A region that none of them has ever heard is left out: then it is they who are new.
    """
    known: dict[str, list[Seen]] = {}
    for view in views:
        for region, seen in view.regions.items():
            if seen.healthy or any(replicas is not None for replicas in seen.replicas.values()):
                known.setdefault(region, []).append(seen)
    return {region: _together(seen) for region, seen in known.items()}


def _together(seen: Iterable[Seen]) -> RegionSeen:
    loads: dict[str, int] = {}
    trusted = False
    for one in seen:
        trusted = trusted or (one.healthy and not one.draining)
        for service, load_seen in one.load.items():
            if load_seen.capacity is not None:
                loads[service] = max(load_seen.in_flight, loads.get(service, 0))
    return RegionSeen(trusted, loads)
