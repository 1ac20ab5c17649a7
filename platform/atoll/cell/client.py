"""What commands use: start a run, ask its supervisor, end it, and end what is left of one."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from atoll.cell import processes
from atoll.cell.facts import is_locked, read_facts, take_lock
from atoll.cell.paths import RunPaths
from atoll.cell.progress import PROGRESS, Progress, Report, is_progress
from atoll.cell.reap import reap_run
from atoll.cell.requests import (
    DeployRequest,
    Done,
    DrainRequest,
    Fault,
    FaultRequest,
    RegionsRequest,
    StatusRequest,
)
from atoll.cell.status import RUN_STATUS, RunStatus
from atoll.rpc import Client, Document, RpcError

SUPERVISOR = "atoll.cell.supervisor"
"""The module that is run for a run."""
SPAWN_POLL_S = 0.05
STOP_PATIENCE_S = 60.0
"""A supervisor that has not ended a run by then is ended itself, and what is left is reaped."""


class NotRunning(Exception):
    """No supervisor runs in this folder."""

    def __init__(self, paths: RunPaths) -> None:
        super().__init__(f"nothing runs in {paths.root}; start it with `atoll up`")


class StartFailed(Exception):
    """The supervisor refused to start anything, or died; ``str()`` is what it said. `status` is its exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class OperationFailed(Exception):
    """The supervisor did not do what was asked, for the reason told; `kind` is for programs."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """How a run is started."""

    topology_file: Path
    regions: int | None = None
    """Only the first so many regions of the topology."""
    port_base: int | None = None
    """``ATOLL_PORT_BASE``."""
    detach: bool = False
    """Whether the run outlives the process that starts it. Otherwise it ends when that one does, however it does."""


async def launch(paths: RunPaths, options: LaunchOptions) -> "SupervisorClient":
    """Starts a supervisor; returns when it answers, which is before the regions are ready (`SupervisorClient.ready`).

    Raises `AlreadyRunning`, or `StartFailed` if the topology is refused, a port is taken, or the supervisor dies.
    """
    if is_locked(paths):
        (await take_lock(paths)).release()
    argv = [sys.executable, "-m", SUPERVISOR, "--root", str(paths.root)]
    argv += ["--topology", str(options.topology_file.resolve())]
    argv += ["--regions", str(options.regions)] if options.regions is not None else []
    argv += ["--port-base", str(options.port_base)] if options.port_base is not None else []
    argv += [] if options.detach else ["--owner", str(os.getpid())]
    with tempfile.TemporaryFile() as said:
        supervisor = subprocess.Popen(  # noqa: ASYNC220  it is over in milliseconds
            argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        client = SupervisorClient(paths)
        while not await client.answers():
            status = supervisor.poll()
            if status is not None:
                said.seek(0)
                message = said.read().decode(errors="replace").strip()
                raise StartFailed(message or f"the supervisor ended with status {status}", status)
            await asyncio.sleep(SPAWN_POLL_S)
        return client


async def connect(paths: RunPaths) -> "SupervisorClient":
    """The supervisor of the run in this folder. Raises `NotRunning`."""
    client = SupervisorClient(paths)
    if not await client.answers():
        raise NotRunning(paths)
    return client


async def down(paths: RunPaths, report: Report) -> int:
    """Ends the run, if there is one, and all that an earlier one left; how many processes had to be reaped.

    Raises `processes.StillRunningError`.
    """
    client = SupervisorClient(paths)
    try:
        async with asyncio.timeout(STOP_PATIENCE_S):
            if await client.answers():
                await client.stop(report)
    except (OperationFailed, TimeoutError):
        pass  # it ended without an answer, or hangs: what is left is found by its mark
    return await reap(paths)


async def reap(paths: RunPaths) -> int:
    """Ends the supervisor, if one is left, and all that carries the mark of this folder; how many were found."""
    if not paths.root.exists():
        return 0
    facts = read_facts(paths)
    if facts is not None and is_locked(paths):
        await processes.end([facts.supervisor], grace_s=10.0)
    lock = await take_lock(paths)
    try:
        return await reap_run(paths)
    finally:
        lock.release()


@dataclass(frozen=True, slots=True)
class SupervisorClient:
    """Asks the supervisor. Every method raises `NotRunning` or `OperationFailed`."""

    paths: RunPaths

    async def answers(self) -> bool:
        """Whether there is a supervisor."""
        try:
            await self._client.call("ping")
        except (RpcError, OSError):
            return False
        return True

    async def status(self, *, memory: bool = True) -> RunStatus:
        """What runs. Without memory all its figures are zero, and it costs a tenth: for who asks every second."""
        request = StatusRequest(memory=memory)
        return RUN_STATUS.validate_python(await self._last("status", request.model_dump(), _ignore))

    async def ready(self, report: Report) -> None:
        """Returns when every region is ready. `OperationFailed` if one can't be (a deployment failed)."""
        await self._last("ready", {}, report)

    async def kill(self, target: str) -> None:
        """Ends a region, a process of it (``eu-west/gateway-1``), a replica of a service (``eu-west/replica/quote``) or
        the entry; it stays down until healed.
        """
        await self._fault(FaultRequest(kind=Fault.KILL, target=target))

    async def freeze(self, target: str) -> None:
        """Stops a region, a process or a replica of it, or the entry without ending it, until healed."""
        await self._fault(FaultRequest(kind=Fault.FREEZE, target=target))

    async def cut(self, a: str, b: str | None = None, *, one_way: bool = False) -> None:
        """Nothing gets through the links between `a` and `b` (None: all links of `a`)."""
        await self._fault(FaultRequest(kind=Fault.CUT, target=a, other=b, one_way=one_way))

    async def slow(self, a: str, b: str | None = None, *, latency_s: float, one_way: bool = False) -> None:
        """Sets the links' latency, one way."""
        await self._fault(
            FaultRequest(kind=Fault.SLOW, target=a, other=b, one_way=one_way, latency_ms=latency_s * 1000)
        )

    async def throttle(
        self, a: str, b: str | None = None, *, rate_bytes_per_s: float, one_way: bool = False
    ) -> None:
        """Sets what the links carry, each way."""
        await self._fault(
            FaultRequest(
                kind=Fault.THROTTLE, target=a, other=b, one_way=one_way, rate_bytes_per_s=rate_bytes_per_s
            )
        )

    async def fill(self, target: str) -> None:
        """The files of a process (``eu-west/state``) take no writes until healed, as on a full disk."""
        await self._fault(FaultRequest(kind=Fault.FILL, target=target))

    async def starve(self, target: str) -> None:
        """A store (``eu-west/cache``) may use no more memory until healed."""
        await self._fault(FaultRequest(kind=Fault.STARVE, target=target))

    async def skew(self, target: str, *, by_s: float) -> None:
        """The clock of a state store (``eu-west/state``), which stamps its region's writes, is off until healed: ahead,
        or behind if `by_s` is below zero.
        """
        await self._fault(FaultRequest(kind=Fault.SKEW, target=target, skew_ms=round(by_s * 1000)))

    async def limp(self, target: str, *, share: float) -> None:
        """A replica of a service (``eu-west/replica/quote``) gets this share of the time alone, until healed."""
        await self._fault(FaultRequest(kind=Fault.LIMP, target=target, share=share))

    async def without(self, mechanism: str) -> None:
        """All gateways do without a mechanism (`atoll.cell.mechanisms.MECHANISMS`) until it is healed."""
        await self._fault(FaultRequest(kind=Fault.WITHOUT, target=mechanism))

    async def heal(self, target: str | None = None, other: str | None = None) -> None:
        """Ends faults: all of them, those of a region with its links, of a process, of the links between two, or the
        lack of a mechanism.
        """
        await self._fault(FaultRequest(kind=Fault.HEAL, target=target, other=other))

    async def drain(self, region: str, timeout_s: float, report: Report) -> None:
        """Takes a region out of traffic; returns when its gateways hold no request.

        `OperationFailed` (``not-drained``) if they still do after `timeout_s`; the region then stays draining.
        """
        await self._last("drain", DrainRequest(region=region, timeout_s=timeout_s).model_dump(), report)

    async def undrain(self, region: str) -> None:
        """Puts a region back into traffic."""
        await self._last("undrain", DrainRequest(region=region).model_dump(), _ignore)

    async def regions(self, report: Report, *, regions: int | None = None) -> str:
        """Starts and ends regions until those of the topology run, its first `regions` alone (None: all); what was
        changed, in words, empty if nothing.

        `OperationFailed` if it can't be done; asked again, what is left of it is done.
        """
        answer = await self._last("regions", RegionsRequest(regions=regions).model_dump(), report)
        return Done.model_validate(answer).detail

    async def deploy(self, report: Report, *, rollback: bool = False) -> None:
        """Deploys what the topology says region by region, or takes the last deployment back.

        `OperationFailed` (``deploy-failed``) at the first region that does not become healthy.
        """
        await self._last("deploy", DeployRequest(rollback=rollback).model_dump(), report)

    async def stop(self, report: Report) -> None:
        """Ends the run; returns when nothing of it is left but the supervisor itself, which goes then."""
        await self._last("stop", {}, report)

    @property
    def _client(self) -> Client:
        return Client(self.paths.supervisor_socket)

    async def _fault(self, request: FaultRequest) -> None:
        await self._last("fault", request.model_dump(mode="json"), _ignore)

    async def _last(self, method: str, params: Document, report: Report) -> Document:
        """The answer of a call; progress on the way goes to `report`."""
        try:
            return await last(self._client.stream(method, params), report)
        except RpcError as error:
            if error.kind == "unavailable":
                raise NotRunning(self.paths) from error
            raise OperationFailed(error.kind, error.detail) from error


async def last(documents: AsyncIterator[Document], report: Report) -> Document:
    """The result of a streaming call; progress on the way goes to `report` as it comes."""
    result: Document = {}
    async for document in documents:
        if is_progress(document):
            report(PROGRESS.validate_python(document))
        else:
            result = document
    return result


def _ignore(event: Progress) -> None:
    """Takes progress that nobody waits for."""
