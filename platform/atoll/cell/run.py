"""A run's processes as the supervisor owns them: links, entry, a warden a region."""

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from random import Random

from atoll.cell.board import Board
from atoll.cell.client import last
from atoll.cell.gateway_view import GatewayViews
from atoll.cell.links.control import LinksClient
from atoll.cell.managed import ManagedProcess, ProcessSpec
from atoll.cell.meeting import await_meeting
from atoll.cell.paths import RunPaths
from atoll.cell.ports import ENTRY
from atoll.cell.prepare import Plan
from atoll.cell.processes import REGION_VARIABLE
from atoll.cell.progress import Report
from atoll.cell.reap import Reaper, outputs
from atoll.cell.requests import Done, Fault, FaultRequest
from atoll.cell.specs import GATEWAY_STOP_S, gateway_ready
from atoll.cell.status import ProcessState
from atoll.cell.wiring import write_warden_config
from atoll.clock import Clock
from atoll.rpc import Client, Document, RpcError
from atoll.secrets import read_secret

WARDEN = "atoll.cell.warden"
"""The module that is run for each region."""
WARDEN_START_S = 60.0
WARDEN_STOP_S = 60.0
"""Gateways drain, then Serve, then Ray ends: about 10 s alone, more for several regions on two cores."""

MEETING = "gateways meet"

LOST = frozenset({"unavailable", "disconnected"})
"""Kinds of `RpcError` that say that the other process is not there, or went away."""

REGION_UNAVAILABLE = "region-unavailable"
"""Kind of `RpcError` that says so of a region's warden. Whoever asks the supervisor takes those for its own absence."""

log = logging.getLogger(__name__)


class Run:
    """Starts, keeps up and ends everything of a run. Call `run` once."""

    def __init__(self, plan: Plan, paths: RunPaths, clock: Clock, random: Random) -> None:
        """Raises `SecretError`."""
        self.plan = plan
        self.paths = paths
        self.board = Board(clock)
        self.views = GatewayViews(read_secret(paths.admin_token))
        self._clock = clock
        self._random = random
        self._readiness: dict[str, asyncio.Task[str]] = {}
        self.links = self._managed(
            "links",
            ("-m", "atoll.cell.links", "--config", str(paths.links_config)),
            self._links_ready,
            on_end=self._links_ended,
        )
        self.entry = self._managed(
            ENTRY,
            ("-m", "atoll_gateway", "--wiring", str(paths.entry_wiring)),
            gateway_ready(plan.ports.entry_public, self.views),
            stop_grace_s=GATEWAY_STOP_S,
        )
        self._folders = outputs(paths, plan.facts)
        self._reaper = Reaper(plan.facts.run, None, self._folders)
        self._reapers = {region: self._reaper_of(region) for region in plan.wardens}
        self._tasks: asyncio.TaskGroup | None = None
        self.wardens = {region: self._warden(region) for region in plan.wardens}
        self.on_links_restart: Callable[[], Awaitable[None]] | None = None
        """Puts faults in force on links that have lost them by a restart."""

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Starts everything side by side, keeps it up until `stop`, ends it in order (at once if `hurry` is set
        too). Nothing of the run is left, however this ends but by SIGKILL.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for process in (self.links, self.entry, *self.wardens.values()):
                    tasks.create_task(process.run(), name=process.name)
                self._readiness = {
                    region: tasks.create_task(self.await_region(region, self.board.post))
                    for region in self.wardens
                }
                for process in (self.links, self.entry):
                    self._readiness[process.name] = tasks.create_task(self._await_process(process))
                parts = tuple(self._readiness.values())
                self._readiness["meeting"] = tasks.create_task(self._await_meeting(parts))
                await stop.wait()
                self._tasks = None
                for waiting in self._readiness.values():
                    waiting.cancel()
                await self._end(hurry)
        finally:
            await self._reaper.reap(grace_s=0.0)
            await self.views.close()

    async def ready(self) -> str:
        """Returns when everything is ready, or something can't become so: then why, else nothing."""
        failures = await asyncio.gather(*self._readiness.values())
        return "\n".join(failure for failure in failures if failure)

    def add(self, region: str) -> None:
        """Starts a region that the plan has got, if it doesn't run. Raises `RpcError` while the run ends."""
        if region in self.wardens:
            return
        if self._tasks is None:
            raise RpcError("not-possible", "the run is ending")
        self._folders.update(outputs(self.paths, self.plan.facts))
        self._reapers[region] = self._reaper_of(region)
        self.wardens[region] = warden = self._warden(region)
        self._tasks.create_task(warden.run(), name=warden.name)

    async def remove(self, region: str) -> None:
        """Ends a region, if it runs, in order."""
        if (warden := self.wardens.get(region)) is not None:
            await self._end_region(region, warden)
            del self.wardens[region], self._reapers[region]
        if (waiting := self._readiness.pop(region, None)) is not None:
            waiting.cancel()

    async def await_meeting(self) -> str:
        """Returns when every gateway knows every region of the plan, or with why one doesn't."""
        with self.board.step(MEETING):
            return await await_meeting(
                self.plan.topology, self.plan.ports, self.views, lambda why: self.board.note(MEETING, why)
            )

    async def _await_meeting(self, parts: Iterable[asyncio.Task[str]]) -> str:
        if any(await asyncio.gather(*parts)):
            return ""
        return await self.await_meeting()

    async def ask(self, region: str, method: str, params: Document, report: Report) -> Document:
        """Calls a region's warden. Raises `RpcError`; `REGION_UNAVAILABLE` if the warden is not there to answer."""
        try:
            return await last(Client(self.paths.region(region).warden_socket).stream(method, params), report)
        except RpcError as error:
            if error.kind not in LOST:
                raise
            raise RpcError(REGION_UNAVAILABLE, self._why_silent(region)) from error

    def _why_silent(self, region: str) -> str:
        warden = self.wardens[region]
        if warden.state is ProcessState.KILLED:
            return f"{region} is down by a fault; `atoll fault heal {region}` starts it"
        ended = f"; its warden {warden.last_end}" if warden.last_end else ""
        return (
            f"{region} does not answer{ended}. It is started again by itself: wait until `atoll status` says that "
            f"it is ready, or see {warden.log}"
        )

    async def kill(self, region: str) -> None:
        """A fault: SIGKILL to every process of a region; it stays down until healed."""
        self.wardens[region].kill()
        await self._reapers[region].kill()
        self._come_back_as_it_was(region)

    def freeze(self, region: str) -> None:
        """A fault: SIGSTOP to every process of a region, until healed."""
        self.wardens[region].freeze()
        self._reapers[region].signal(signal.SIGSTOP)

    async def heal(self, region: str) -> None:
        """Ends all faults on a region and on its processes. A killed region is being started when this returns."""
        self._reapers[region].signal(signal.SIGCONT)
        self.wardens[region].heal()
        try:
            await self.ask(
                region, "fault", FaultRequest(kind=Fault.HEAL).model_dump(mode="json"), lambda _: None
            )
        except RpcError as error:
            if error.kind != REGION_UNAVAILABLE:  # one that is only coming up has no faults on its processes
                raise

    async def kill_warden(self, region: str) -> None:
        """A fault: SIGKILL to the warden. Its region can't be without it, so what doesn't die with it is ended."""
        self.wardens[region].kill()
        await self._reapers[region].reap()
        self._come_back_as_it_was(region)

    async def _end(self, hurry: asyncio.Event) -> None:
        orderly = asyncio.create_task(self._end_in_order())
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait([orderly, hurried], return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not orderly.done():
            log.warning("asked twice to end: killing what is left")
            for process in (self.entry, self.links, *self.wardens.values()):
                process.kill()
            await self._reaper.reap(grace_s=0.0)
            await orderly

    async def _end_in_order(self) -> None:
        with self.board.step("entry drains"):
            await self.entry.stop()
        async with asyncio.TaskGroup() as tasks:
            for region, warden in self.wardens.items():
                tasks.create_task(self._end_region(region, warden))
        with self.board.step("links end"):
            await self.links.stop()

    async def _end_region(self, region: str, warden: ManagedProcess) -> None:
        with self.board.step(f"{region} ends"):
            # A frozen region can't end itself.
            self._reapers[region].signal(signal.SIGCONT)
            await warden.stop()
            await self._reapers[region].reap(grace_s=1.0)

    async def await_region(self, region: str, report: Report) -> str:
        """Follows a region's start, through its warden's crashes; why it failed, or nothing."""
        while True:
            await self.wardens[region].wait_ready()
            try:
                await self.ask(region, "ready", {}, report)
            except RpcError as error:
                if error.kind != REGION_UNAVAILABLE:
                    return f"{region}: {error.detail}"
                log.warning("%s went away while it started: %s", region, error.detail)
                await asyncio.sleep(self._random.uniform(0.1, 0.3))
            else:
                return ""

    async def _await_process(self, process: ManagedProcess) -> str:
        with self.board.step(process.name):
            await process.wait_ready()
        return ""

    async def _links_ready(self) -> bool:
        try:
            await LinksClient(self.paths.links_socket).statistics()
        except RpcError:
            return False
        return True

    async def _links_ended(self) -> None:
        async def reapply() -> None:
            await self.links.wait_ready()
            if self.on_links_restart is not None:
                await self.on_links_restart()

        self._reapplying = asyncio.create_task(reapply())

    def _managed(
        self,
        name: str,
        arguments: tuple[str, ...],
        ready: Callable[[], Awaitable[bool]],
        *,
        stop_grace_s: float = 5.0,
        on_end: Callable[[], Awaitable[None]] | None = None,
    ) -> ManagedProcess:
        spec = ProcessSpec(
            name=name,
            argv=(sys.executable, *arguments),
            env=self.plan.environment,
            log=self.paths.log(name),
            ready=ready,
            stop_grace_s=stop_grace_s,
        )
        return ManagedProcess(spec, self._clock, self._random, on_end=on_end)

    def _warden(self, region: str) -> ManagedProcess:
        config_file = self.paths.region(region).warden_config

        async def ready() -> bool:
            try:
                Done.model_validate(await Client(self.paths.region(region).warden_socket).call("ping"))
            except RpcError:
                return False
            return True

        async def ended() -> None:
            """What a dead warden leaves (Ray, above all) goes before its successor comes."""
            await self._reapers[region].reap()
            self._come_back_as_it_was(region)

        spec = ProcessSpec(
            name="warden",
            argv=(sys.executable, "-m", WARDEN, "--config", str(config_file)),
            env={**self.plan.environment, REGION_VARIABLE: region},
            log=self.paths.region(region).log("warden"),
            ready=ready,
            ready_timeout_s=WARDEN_START_S,
            stop_grace_s=WARDEN_STOP_S,
            dies_with_parent=False,  # it notices by itself, and ends its region in order first
        )
        return ManagedProcess(spec, self._clock, self._random, on_end=ended)

    def _reaper_of(self, region: str) -> Reaper:
        return Reaper(self.plan.facts.run, region, self._folders)

    def _come_back_as_it_was(self, region: str) -> None:
        config = replace(self.plan.wardens[region], restore=True)
        write_warden_config(self.paths.region(region).warden_config, config)
