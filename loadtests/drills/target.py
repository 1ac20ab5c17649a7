"""What a drill is held on: the run of this folder, or a deployment elsewhere that is known by its address alone."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import httpx

from atoll.cell.client import NotRunning, OperationFailed, SupervisorClient
from atoll.cell.progress import Progress
from atoll.cell.status import RunStatus
from atoll.topology import load
from loadtests.drills.calm import broken_on_purpose, counts_replicas, restless, scaled
from loadtests.drills.scenario import Drill, Fault, FaultKind
from loadtests.users.client import Origin

STATUS_PATIENCE_S = 8.0
"""A supervisor whose wardens are frozen answers after 5 s."""
CALM_PATIENCE_S = 180.0
"""A region that was killed comes back within a minute where the machine has nothing else to do, and Serve takes away
what is not needed after half a minute (`autoscaling.downscale_delay`)."""
POLL_S = 0.5
DRAIN_S = 60.0


class TargetRefused(Exception):
    """The drill can't be held there; says why, and what to do."""


class NotCalm(Exception):
    """What runs did not come to rest, so a drill would show nothing; says what moves."""


Waits = Callable[[str], None]
"""Is told what is waited for, in words, again and again."""


class Target(Protocol):
    """Where the load goes, what can be seen of it, and what can be broken."""

    url: str
    """Where users go."""
    topology_file: Path | None
    """What is deployed there; None: what the users' process takes by itself."""

    async def check(self, drill: Drill, waits: Waits) -> None:
        """Returns when the drill can begin: nothing is broken, and nothing starts, stops or scales. Raises
        `TargetRefused` if it can't be held there, and `NotCalm`.
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

    async def check(self, drill: Drill, waits: Waits) -> None:
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
        if why := broken_on_purpose(status):
            raise TargetRefused(
                f"{why}. A drill begins on a run that is whole, or nobody could tell what it did: heal with "
                "`atoll fault heal`, `atoll undrain REGION`, and look with `atoll status`"
            )
        await self._calm(drill, waits)

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
            case FaultKind.LIMP_REPLICA:
                assert fault.share is not None, "the scenario's file was checked"
                await do.limp(replica(fault), share=fault.share)
            case FaultKind.CLOCK_SKEW:
                assert fault.skew_s is not None, "the scenario's file was checked"
                await do.skew(target, by_s=fault.skew_s)
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
            case FaultKind.KILL_REPLICA | FaultKind.FREEZE_REPLICA | FaultKind.LIMP_REPLICA:
                await do.heal(replica(fault))
            case _:
                await do.heal(target)

    async def do_without(self, mechanism: str) -> None:
        await self._supervisor.without(mechanism)

    async def do_with(self, mechanism: str) -> None:
        await self._supervisor.heal(mechanism)

    async def _calm(self, drill: Drill, waits: Waits) -> None:
        """Returns when nothing starts, stops or scales. Raises `NotCalm`."""
        topology = None
        if counts_replicas(drill) and self.topology_file is not None:
            topology = load(self.topology_file)
        why = ""
        try:
            async with asyncio.timeout(CALM_PATIENCE_S):
                while True:
                    status = await self.status()
                    if status is None:
                        why = "the run does not answer"
                    else:
                        why = restless(status) or ("" if topology is None else scaled(status, topology))
                    if not why:
                        return
                    waits(why)
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            raise NotCalm(
                f"the run did not come to rest within {CALM_PATIENCE_S:.0f} s, so nobody could tell what the drill "
                f"did: {why}. Look with `atoll status`, and end what else puts load on it"
            ) from error


class Remote:
    """A deployment of which only the address is known. Nobody here could heal it, so nothing of it is broken: its
    drills are those that load alone makes.
    """

    def __init__(self, url: str, topology_file: Path | None = None) -> None:
        """`topology_file` says what is deployed there."""
        self.url = url.rstrip("/")
        self.topology_file = topology_file

    async def check(self, drill: Drill, waits: Waits) -> None:
        try:
            Origin.of(self.url)
        except ValueError as error:
            raise TargetRefused(f"--entry: {error}. Nothing was done") from error
        if faults := [fault for fault in drill.faults if fault.kind is not FaultKind.NONE]:
            kinds = ", ".join(sorted({fault.kind.value for fault in faults}))
            raise TargetRefused(
                f"the drill {drill.name} needs {kinds}, and what breaks at {self.url} can't be healed from here: only "
                "drills of load alone are held on a deployment elsewhere (overload, retry-storm, failing-service). "
                "Nothing was done"
            )
        if counts_replicas(drill):
            raise TargetRefused(
                f"the drill {drill.name} judges autoscaling, and how many replicas run at {self.url} can't be seen "
                "from here. Nothing was done"
            )
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=10.0) as http:
                answer = await http.get(f"{self.url}/-/readyz")
        except httpx.HTTPError as error:
            raise TargetRefused(
                f"{self.url} does not answer: {str(error) or type(error).__name__}"
            ) from error
        if not answer.is_success:
            raise TargetRefused(
                f"{self.url}/-/readyz says {answer.status_code}: it is no gateway of Atoll, or not ready for a drill"
            )

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


async def connect_local(supervisor: SupervisorClient) -> Local:
    """The run of a folder. Raises `NotRunning`."""
    if not await supervisor.answers():
        raise NotRunning(supervisor.paths)
    status = await supervisor.status()
    return Local(supervisor, status.entry_url, Path(status.topology_file))


def _unheard(progress: Progress) -> None:
    """A drain's progress is seen in the samples."""
