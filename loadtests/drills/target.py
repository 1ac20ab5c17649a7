"""What a drill is held on: the run of this folder, or a deployment elsewhere that is known by its address alone."""

import asyncio
from pathlib import Path
from typing import Protocol

import httpx

from atoll.cell.client import NotRunning, OperationFailed, SupervisorClient
from atoll.cell.progress import Progress
from atoll.cell.status import RegionState, RunStatus
from loadtests.drills.scenario import Drill, Fault, FaultKind

STATUS_PATIENCE_S = 8.0
"""A supervisor whose wardens are frozen answers after 5 s."""
WHOLE_PATIENCE_S = 180.0
"""A region that was killed comes back within a minute where the machine has nothing else to do."""
POLL_S = 0.5
DRAIN_S = 60.0


class TargetRefused(Exception):
    """The drill can't be held there; says why, and what to do."""


class Target(Protocol):
    """Where the load goes, what can be seen of it, and what can be broken."""

    url: str
    """Where users go."""
    topology_file: Path | None
    """What is deployed there; None: what the users' process takes by itself."""

    async def check(self, drill: Drill) -> None:
        """Returns when the drill can begin. Raises `TargetRefused` if it can't be held, or would begin on what is
        broken already.
        """
        ...

    async def status(self) -> RunStatus | None:
        """What runs; None if nobody tells now."""
        ...

    async def inject(self, fault: Fault) -> None:
        """Returns when the fault is in force. Raises `OperationFailed`, `NotRunning`."""
        ...

    async def heal(self, fault: Fault) -> None:
        """Ends what `inject` did, and nothing else. Raises as it."""
        ...

    async def do_without(self, mechanism: str) -> None:
        """Turns a mechanism of Atoll off, until `do_with`. Raises as `inject`."""
        ...

    async def do_with(self, mechanism: str) -> None:
        """Turns it on again. Raises as `inject`."""
        ...


class Local:
    """The run of a folder: every fault there is, all of them healed by its supervisor."""

    def __init__(self, supervisor: SupervisorClient, url: str, topology_file: Path | None = None) -> None:
        self.url = url
        self.topology_file = topology_file
        self._supervisor = supervisor

    async def check(self, drill: Drill) -> None:
        status = await self._supervisor.status()
        if status.topology != drill.topology:
            raise TargetRefused(
                f"the drill {drill.name} is for the topology {drill.topology!r}, and {status.topology!r} runs here; "
                f"`atoll down`, then `atoll up --detach --topology infra/topologies/{drill.topology}.toml`"
            )
        for fault in drill.faults:
            region = fault.target.partition("/")[0]
            if fault.target and region not in (*status.regions, "entry", "links"):
                raise TargetRefused(
                    f"the drill {drill.name} has a fault on {region}, which does not run here; there are "
                    f"{', '.join(status.regions)}: `atoll up` without --regions"
                )
        why = obstacle(status)
        if why and not _is_wanted(status):
            why = await self.whole()
        if why:
            raise TargetRefused(
                f"{why}. A drill begins on a run that is whole, or nobody could tell what it did: heal with "
                "`atoll fault heal`, `atoll undrain REGION`, and look with `atoll status`"
            )

    async def status(self) -> RunStatus | None:
        try:
            async with asyncio.timeout(STATUS_PATIENCE_S):
                return await self._supervisor.status(memory=False)
        except (TimeoutError, NotRunning, OperationFailed):
            return None

    async def inject(self, fault: Fault) -> None:
        do, target = self._supervisor, fault.target
        match fault.kind:
            case FaultKind.NONE:
                return
            case FaultKind.KILL:
                await do.kill(target)
            case FaultKind.FREEZE:
                await do.freeze(target)
            case FaultKind.CUT:
                await do.cut(target, fault.other, one_way=fault.one_way)
            case FaultKind.SLOW:
                assert fault.latency_s is not None, "the scenario's file was checked"
                await do.slow(target, fault.other, latency_s=fault.latency_s, one_way=fault.one_way)
            case FaultKind.THROTTLE:
                assert fault.rate_bytes_per_s is not None, "the scenario's file was checked"
                await do.throttle(
                    target, fault.other, rate_bytes_per_s=fault.rate_bytes_per_s, one_way=fault.one_way
                )
            case FaultKind.DRAIN:
                await do.drain(target, DRAIN_S, _unheard)
            case FaultKind.KILL_REPLICA:
                await do.kill(replica(fault))
            case FaultKind.FREEZE_REPLICA:
                await do.freeze(replica(fault))
            case FaultKind.STORE_FULL:
                await do.fill(target)
            case FaultKind.STORE_MEMORY:
                await do.starve(target)
            case FaultKind.RESTART_STORM:
                await do.kill(target)
                await do.heal(target)

    async def heal(self, fault: Fault) -> None:
        do, target = self._supervisor, fault.target
        match fault.kind:
            case FaultKind.NONE | FaultKind.RESTART_STORM:
                return
            case FaultKind.DRAIN:
                await do.undrain(target)
            case FaultKind.CUT | FaultKind.SLOW | FaultKind.THROTTLE:
                await do.heal(target, fault.other)
            case FaultKind.KILL_REPLICA | FaultKind.FREEZE_REPLICA:
                await do.heal(replica(fault))
            case _:
                await do.heal(target)

    async def do_without(self, mechanism: str) -> None:
        await self._supervisor.without(mechanism)

    async def do_with(self, mechanism: str) -> None:
        await self._supervisor.heal(mechanism)

    async def whole(self) -> str:
        """Returns when every region is ready and trusted by all, or with what still is not so after a long wait."""
        why = ""
        try:
            async with asyncio.timeout(WHOLE_PATIENCE_S):
                while True:
                    status = await self.status()
                    why = "the run does not answer" if status is None else obstacle(status)
                    if not why:
                        return ""
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            return why


class Remote:
    """A deployment of which only the address is known. Nobody here could heal it, so nothing of it is broken: its
    drills are those that load alone makes.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.topology_file: Path | None = None

    async def check(self, drill: Drill) -> None:
        if faults := [fault for fault in drill.faults if fault.kind is not FaultKind.NONE]:
            kinds = ", ".join(sorted({fault.kind.value for fault in faults}))
            raise TargetRefused(
                f"the drill {drill.name} needs {kinds}, and what breaks at {self.url} can't be healed from here: only "
                "drills of load alone are held on a deployment elsewhere (overload, retry-storm, surge). Nothing was "
                "done"
            )
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=10.0) as http:
                answer = await http.get(f"{self.url}/-/readyz")
        except httpx.HTTPError as error:
            raise TargetRefused(
                f"{self.url} does not answer: {str(error) or type(error).__name__}"
            ) from error
        if not answer.is_success:
            raise TargetRefused(f"{self.url}/-/readyz says {answer.status_code}: it is not ready for a drill")

    async def status(self) -> RunStatus | None:
        return None

    async def inject(self, fault: Fault) -> None:
        assert fault.kind is FaultKind.NONE, "`check` comes first"

    async def heal(self, fault: Fault) -> None:
        assert fault.kind is FaultKind.NONE, "`check` comes first"

    async def do_without(self, mechanism: str) -> None:
        raise TargetRefused(
            f"{self.url} can't be told from here to do without {mechanism}; leave --without out"
        )

    async def do_with(self, mechanism: str) -> None:
        """Nothing was turned off."""


def replica(fault: Fault) -> str:
    """The target of a fault on one replica of a service, as `atoll fault` has it: ``eu-west/replica/quote``."""
    return f"{fault.target}/replica/{fault.service}"


def _is_wanted(status: RunStatus) -> bool:
    """Whether somebody has broken or drained something: waiting makes that no better."""
    return bool(status.faults) or any(region.draining for region in status.regions.values())


def obstacle(status: RunStatus) -> str:
    """What keeps a run from being whole, in words; empty if nothing does. Pure."""
    if status.faults:
        return "in force: " + ", ".join(f"{fault.kind} {fault.target}" for fault in status.faults)
    for name, region in status.regions.items():
        if region.state is not RegionState.READY:
            return f"{name} is {region.state.value}" + (f" ({region.detail})" if region.detail else "")
        doubters = sorted(gateway for gateway, seen in region.health.items() if seen != "healthy")
        if doubters:
            return f"{name} is not trusted by {', '.join(doubters)}"
        if short := sorted(
            service for service, count in region.replicas.items() if count.running < count.target
        ):
            return f"{name} lacks replicas of {', '.join(short)}"
    return ""


async def connect_local(supervisor: SupervisorClient) -> Local:
    """The run of a folder. Raises `NotRunning`."""
    if not await supervisor.answers():
        raise NotRunning(supervisor.paths)
    status = await supervisor.status()
    return Local(supervisor, status.entry_url, Path(status.topology_file))


def _unheard(progress: Progress) -> None:
    """A drain's progress is seen in the samples."""
