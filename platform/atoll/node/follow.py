"""What changes while a role runs: the topology, and which gateways the region has."""

import logging
from pathlib import Path

from atoll.cell.ahead import FollowedTopology
from atoll.clock import Clock
from atoll.node.check import check_topology
from atoll.node.config import NodeConfig, NodeError
from atoll.node.directory import EVERY_S, Directory, DirectoryAway
from atoll.node.wiring import GatewayAt
from atoll.topology import Topology, TopologyError, read
from atoll.topology.wiring import write_private

LOOK_S = 1.0
"""How often the topology's file is looked at; it costs one `stat`."""

log = logging.getLogger(__name__)


class Following:
    """The topology in force on this machine: what was published last that is sound, may follow, and has addresses."""

    def __init__(self, config: NodeConfig, first: Topology, kept: Path) -> None:
        """`kept` is where it is remembered for the next start."""
        self._config = config
        self._kept = kept
        self._file = FollowedTopology(config.topology, None, first, members_change=True)
        self.current = first
        self._keep()

    def poll(self) -> bool:
        """Looks once; whether there is another one now."""
        candidate = self._file.poll()
        if candidate.digest == self.current.digest:
            return False
        try:
            check_topology(self._config, candidate)
        except NodeError as error:
            log.error("%s", error)  # noqa: TRY400  the message says it all
            self._file.current = self.current
            return False
        self.current = candidate
        self._keep()
        log.info("topology taken up", extra={"revision": candidate.revision, "digest": candidate.digest[:12]})
        return True

    def _keep(self) -> None:
        try:
            write_private(self._kept, read(self._config.topology).encode())
        except (OSError, TopologyError) as error:  # serving is worth more than what a later start may miss
            log.warning("topology is not kept", extra={"file": str(self._kept), "reason": str(error)})


class Neighbours:
    """The region's gateways, as far as is known. While the directory is away, those that were known stay."""

    def __init__(self, directory: Directory, clock: Clock, own: GatewayAt | None = None) -> None:
        """`own` is said to be there as well."""
        self._directory = directory
        self._clock = clock
        self._own = own
        self._looked_at = float("-inf")
        self._away = ""
        self.present: tuple[GatewayAt, ...] = ()

    async def poll(self) -> None:
        """Looks, if it is time to."""
        if self._clock.monotonic() - self._looked_at < EVERY_S:
            return
        self._looked_at = self._clock.monotonic()
        try:
            if self._own is not None:
                await self._directory.say(self._own)
            self.present = await self._directory.present()
        except DirectoryAway as error:
            if not self._away:
                log.warning("the region's gateways are not known anew", extra={"reason": str(error)})
            self._away = str(error)
        else:
            self._away = ""

    async def close(self) -> None:
        """Takes the own one out."""
        if self._own is not None:
            try:
                await self._directory.leave(self._own)
            except DirectoryAway:
                log.info("the own gateway stays in the directory until it is missed")
        await self._directory.store.aclose()
