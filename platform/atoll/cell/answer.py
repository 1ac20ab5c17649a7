"""Answers what is asked of the supervisor; `atoll.cell.requests` says what can be."""

import asyncio

from atoll.cell.drain import drain, undrain
from atoll.cell.faults import Faults
from atoll.cell.forward import forward
from atoll.cell.regions import Regions
from atoll.cell.requests import (
    DeployRequest,
    Done,
    DrainRequest,
    FaultRequest,
    RegionsRequest,
    StatusRequest,
    read,
)
from atoll.cell.rollouts import Rollouts
from atoll.cell.run import Run
from atoll.cell.run_status import run_status
from atoll.cell.status import RUN_STATUS
from atoll.clock import Clock
from atoll.rpc import Document, Progress, RpcError


class Supervisor:
    """One run's supervisor, as it is seen from outside."""

    def __init__(self, run: Run, clock: Clock, stop: asyncio.Event, ended: asyncio.Event) -> None:
        """`stop` is set to end the run; `ended` is set by whoever ends it, when it has."""
        self._run = run
        self._clock = clock
        self._stop = stop
        self._ended = ended
        self._faults = Faults(run, clock)
        self._rollouts = Rollouts(run, self._faults)
        self._regions = Regions(run, self._faults, self._rollouts, clock)
        self._changing = asyncio.Lock()
        self._stoppers = 0
        self._all_answered = asyncio.Event()
        self._all_answered.set()

    async def handle(self, method: str, params: Document, progress: Progress) -> Document:
        """Answers a call. Raises `RpcError`."""
        match method:
            case "ping":
                return _done()
            case "status":
                status: Document = RUN_STATUS.dump_python(
                    await run_status(self._run, self._faults, memory=read(StatusRequest, params).memory),
                    mode="json",
                )
                return status
            case "ready":
                async with forward(self._run.board, progress, past=True):
                    if failure := await self._run.ready():
                        raise RpcError("deploy-failed", failure)
                return _done()
            case "fault":
                await self._faults.apply(read(FaultRequest, params))
                return _done()
            case "drain" | "undrain":
                return await self._drain(method, read(DrainRequest, params), progress)
            case "regions":
                return await self._apply(read(RegionsRequest, params), progress)
            case "deploy":
                return await self._deploy(read(DeployRequest, params), progress)
            case "stop":
                return await self._end(progress)
        raise RpcError("no-such-method", f"a supervisor has no method {method!r}")

    async def answered(self) -> None:
        """Returns when all who asked for the end know of it."""
        await self._all_answered.wait()

    async def _drain(self, method: str, request: DrainRequest, progress: Progress) -> Document:
        self._check_up(request.region)
        if method == "undrain":
            await undrain(self._run, request.region, self._clock)
            return _done()
        async with forward(self._run.board, progress):
            await drain(self._run, request.region, request.timeout_s, self._clock, self._run.board.post)
        return _done()

    async def _deploy(self, request: DeployRequest, progress: Progress) -> Document:
        async with self._changing, forward(self._run.board, progress):
            if not request.rollback:
                self._regions.refuse_changed()
            changed = await (self._rollouts.take_back() if request.rollback else self._rollouts.deploy())
        return _done(", ".join(changed))

    async def _apply(self, request: RegionsRequest, progress: Progress) -> Document:
        """Given up when the run is to end: what has begun ends with it."""
        async with self._changing, forward(self._run.board, progress):
            applying = asyncio.ensure_future(self._regions.apply(request.regions))
            ending = asyncio.ensure_future(self._stop.wait())
            try:
                await asyncio.wait({applying, ending}, return_when=asyncio.FIRST_COMPLETED)
                if not applying.done():
                    raise RpcError("not-possible", "the run is ending")
                changed = await applying
            finally:
                for task in (applying, ending):
                    task.cancel()
                await asyncio.gather(applying, ending, return_exceptions=True)
        return Done(detail=changed, changed=bool(changed)).model_dump()

    async def _end(self, progress: Progress) -> Document:
        self._stoppers += 1
        self._all_answered.clear()
        try:
            async with forward(self._run.board, progress):
                self._stop.set()
                await self._ended.wait()
            return _done()
        finally:
            self._stoppers -= 1
            if not self._stoppers:
                self._all_answered.set()

    def _check_up(self, region: str) -> None:
        if region not in self._run.wardens:
            raise RpcError(
                "no-such-region", f"there is no region {region!r}; there are {', '.join(self._run.wardens)}"
            )
        if (fault := self._faults.on_region(region)) is not None:
            raise RpcError(
                "not-possible", f"{region} is under a {fault.value}; `atoll fault heal {region}` first"
            )


def _done(detail: str = "") -> Document:
    return Done(detail=detail).model_dump()
