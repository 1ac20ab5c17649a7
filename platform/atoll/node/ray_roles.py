"""Roles with Ray: the head, which is the one writer of its region's Serve set too, and workers, which join it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from random import Random

from atoll.cell.ahead import RaisesAhead
from atoll.cell.gateway_view import GatewayView, GatewayViews
from atoll.cell.ray_head import RayHeadSettings
from atoll.cell.ray_unit import RayUnit
from atoll.cell.reaper import become_subreaper, reap_adopted
from atoll.cell.serve_set import ServeSet
from atoll.clock import Clock
from atoll.node.files import RoleFiles
from atoll.node.follow import LOOK_S, Following, Neighbours
from atoll.node.role import Ready
from atoll.node.wiring import Node
from atoll.serve.client import ServeError
from atoll.serve.code import CodeNotFound
from atoll.serve.deploy import DeployProgress
from atoll.serve.store import SetStoreError
from atoll.state.wiring import write_state_wiring
from atoll.topology import Topology

RETRY_S = 5.0
"""Between attempts to deploy: workers may still be on their way."""
LEAVE_S = 30.0
"""What a worker's replicas get when it is told to end without having been drained; less than systemd waits."""

log = logging.getLogger(__name__)


class HeadRole:
    """A region's Ray head. Its end is not its workers': replicas serve on, and the next head finds them."""

    def __init__(
        self,
        node: Node,
        settings: RayHeadSettings,
        serve: ServeSet,
        following: Following,
        neighbours: Neighbours,
        views: GatewayViews,
        clock: Clock,
        random: Random,
    ) -> None:
        self._node = node
        self._files = node.files("head")
        self._serve = serve
        self._following = following
        self._neighbours = neighbours
        self._views = views
        self._ray = RayUnit(settings, clock, random, self._provision, _known_already)
        self._ahead = RaisesAhead(
            node.config.region, self._ask_gateways, self._raise_to, lambda: following.current, clock
        )
        self._changed = asyncio.Event()
        self._serves = False

    async def run(self, stop: asyncio.Event, ready: Ready) -> None:
        """As `Role.run`. Ready when Ray is: services wait for workers, and those for Ray."""
        async with _reaping(), asyncio.TaskGroup() as tasks:
            ray = tasks.create_task(self._ray.run())
            others = [
                tasks.create_task(one)
                for one in (self._follow(), self._ahead.run(), _when_up(self._ray, ready, "Ray's head is up"))
            ]
            await stop.wait()
            for task in (*others, ray):
                task.cancel()
            await asyncio.wait([ray])
            await self._ray.stop()
        await self._serve.close()
        await self._views.close()
        await self._neighbours.close()

    async def drain(self, deadline_s: float) -> bool:
        return True

    def undrain(self) -> None:
        pass

    async def _follow(self) -> None:
        while True:
            await self._neighbours.poll()
            if self._following.poll():
                _tell_replicas(self._node, self._files, self._following.current)
                self._changed.set()
            await asyncio.sleep(LOOK_S)

    async def _provision(self) -> None:
        """Has Serve run what the topology says, each time that Ray has come up and each time that it says another."""
        self._serves = False
        while True:
            self._changed.clear()
            self._serves = await self._deploy(self._following.current)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if self._serves else RETRY_S):
                    await self._changed.wait()

    async def _deploy(self, topology: Topology) -> bool:
        try:
            deployed = await self._serve.deploy(topology, _tell)
        except (ServeError, SetStoreError, CodeNotFound) as error:
            log.error("%s", error)  # noqa: TRY400  the message says it all
            return False
        log.info("services run", extra={"deployed": str(deployed), "revision": topology.revision})
        return True

    async def _ask_gateways(self) -> Iterable[GatewayView | None]:
        return await asyncio.gather(*(self._views.view(one.admin) for one in self._neighbours.present))

    async def _raise_to(self, minimums: Mapping[str, int]) -> bool:
        return self._serves and self._ray.is_up and await self._serve.raise_to(minimums)


class WorkerRole:
    """A machine with replicas alone."""

    def __init__(
        self, node: Node, settings: RayHeadSettings, following: Following, clock: Clock, random: Random
    ) -> None:
        self._node = node
        self._files = node.files("worker")
        self._following = following
        self._ray = RayUnit(settings, clock, random, _nothing_more, _known_already)
        self._runs: asyncio.Task[None] | None = None
        self._left = asyncio.Event()

    async def run(self, stop: asyncio.Event, ready: Ready) -> None:
        """As `Role.run`. Once drained it ends by itself."""
        async with _reaping(), asyncio.TaskGroup() as tasks:
            self._runs = tasks.create_task(self._ray.run())
            told = tasks.create_task(stop.wait())
            left = tasks.create_task(self._left.wait())
            helpers = [
                tasks.create_task(self._follow()),
                tasks.create_task(_when_up(self._ray, ready, "this node has joined its region's head")),
            ]
            await asyncio.wait((told, left), return_when=asyncio.FIRST_COMPLETED)
            if not self._left.is_set():
                await self.drain(LEAVE_S)
            for task in (told, left, *helpers):
                task.cancel()
            await self._ray.stop()

    async def drain(self, deadline_s: float) -> bool:
        """The node leaves its cluster, and doesn't come back."""
        if self._runs is None:
            return True
        up = self._ray.is_up
        self._runs.cancel()
        await asyncio.wait([self._runs])
        drained = not up or await self._ray.drain(deadline_s)
        self._left.set()
        return drained

    def undrain(self) -> None:
        pass

    async def _follow(self) -> None:
        while True:
            if self._following.poll():
                _tell_replicas(self._node, self._files, self._following.current)
            await asyncio.sleep(LOOK_S)


def take_up(node: Node, files: RoleFiles, topology: Topology) -> None:
    """Tells the replicas on this machine of a topology. Raises `OSError`."""
    write_state_wiring(files.state_wiring, Node(node.config, topology).state_wiring)


def _tell_replicas(node: Node, files: RoleFiles, topology: Topology) -> None:
    try:
        take_up(node, files, topology)
    except OSError as error:  # those that run go on as they are
        log.warning("replicas are not told", extra={"file": str(files.state_wiring), "reason": str(error)})


def _tell(progress: DeployProgress) -> None:
    log.info("%s", progress)


def _known_already(why: str) -> None:
    """`RayUnit` has logged it, and tries again."""


async def _nothing_more() -> None:
    """A node that has joined is told by the head what to run."""
    await asyncio.Event().wait()


async def _when_up(ray: RayUnit, ready: Ready, words: str) -> None:
    await ray.wait_up()
    ready(words)


@contextlib.asynccontextmanager
async def _reaping() -> AsyncIterator[None]:
    """`ray start` leaves its processes behind: they are adopted, and their ends noticed."""
    become_subreaper()
    reaper = asyncio.create_task(reap_adopted())
    try:
        yield
    finally:
        reaper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reaper
