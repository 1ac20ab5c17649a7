"""Deploys region by region, and takes the last rollout back: in the regions that it changed, and in no others.

A region that a failed rollout never reached still runs what it ran; going back there would go one set too far.

Nothing is changed before every region concerned is there: one at a time is safe only while the others serve. So a
region that a fault holds down ends it at once, and one that is starting is waited for.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from atoll.cell.faults import Faults
from atoll.cell.progress import Progress, StepState
from atoll.cell.requests import DeployRequest, Done
from atoll.cell.run import REGION_UNAVAILABLE, Run
from atoll.rpc import RpcError
from atoll.serve.deploy import DEPLOY_TIMEOUT_S
from atoll.serve.rollout import Outcome, Rollout, Step, roll_out
from atoll.topology.wiring import write_private

START_S = DEPLOY_TIMEOUT_S
"""How long regions that are starting are waited for: as long as a region's deployment."""

STARTING = "regions are there"


@dataclass(frozen=True, slots=True)
class _Record:
    """Regions that the last rollout changed or failed in, in the order in which they are brought back."""

    to_roll_back: tuple[str, ...]
    schema: Literal["atoll.rollout/1"] = "atoll.rollout/1"


_RECORD = TypeAdapter(_Record)


class Rollouts:
    """Changes to what the regions run; one at a time, which is the caller's to see to."""

    def __init__(self, run: Run, faults: Faults) -> None:
        self._run = run
        self._faults = faults

    async def deploy(self) -> tuple[str, ...]:
        """Has every region run what the topology says; the regions that it changed.

        The first region that does not become healthy ends it, and those behind it stay as they are. Raises `RpcError`.
        """
        await self.all_there(self._run.wardens)
        rollout = Rollout(self._run.wardens)
        errors: dict[str, RpcError] = {}

        async def one(region: str) -> Outcome:
            try:
                changed = await self._ask(region, rollback=False)
            except RpcError as error:
                errors[region] = error
                return Outcome(Step.FAILED, error.detail)
            return Outcome(Step.CHANGED if changed else Step.UNCHANGED)

        await roll_out(rollout, one, lambda _: None)
        if rollout.to_roll_back:
            _write(self._run.paths.rollout, rollout.to_roll_back)
        for region in rollout.failed:
            done = (
                f"done before it: {', '.join(rollout.changed)}"
                if rollout.changed
                else "nothing else was changed"
            )
            detail = f"{region}: {errors[region].detail}; {done}; `atoll deploy --rollback` takes it back"
            raise RpcError(errors[region].kind, detail) from errors[region]
        return rollout.changed

    async def take_back(self) -> tuple[str, ...]:
        """Brings the regions that the last rollout changed back to the set that they ran before. Raises `RpcError`."""
        remaining = [region for region in _read(self._run.paths.rollout) if region in self._run.wardens]
        if not remaining:
            raise RpcError("not-possible", "no deployment of this run is left to take back")
        taken = tuple(remaining)
        await self.all_there(taken)
        while remaining:
            try:
                await self._ask(remaining[0], rollback=True)
            except RpcError as error:
                raise RpcError(error.kind, f"{remaining[0]}: {error.detail}") from error
            remaining.pop(0)
            _write(self._run.paths.rollout, tuple(remaining))
        return taken

    async def all_there(self, regions: Collection[str]) -> None:
        """Returns when every region has started, or can't: a deployment may be what mends it. Raises `RpcError` for one
        that a fault holds down, and for those that take longer than `START_S`.
        """
        for region in regions:
            self._faults.refuse_held(region)
        board = self._run.board
        missing = set(regions)

        async def one(region: str) -> None:
            def heard(event: Progress) -> None:
                if event.state is StepState.DONE:
                    return
                board.note(STARTING, f"{region} is starting: {event.step} {event.detail}".rstrip())

            await self._run.await_region(region, heard)
            missing.remove(region)

        with board.step(STARTING):
            try:
                async with asyncio.timeout(START_S), asyncio.TaskGroup() as tasks:
                    for region in regions:
                        tasks.create_task(one(region))
            except TimeoutError as error:
                raise RpcError(
                    REGION_UNAVAILABLE,
                    f"still not started after {START_S:.0f} s: {', '.join(sorted(missing))}; nothing was changed. See "
                    f"`atoll status`, and deploy when they are ready",
                ) from error
        for region in regions:  # a fault may have come meanwhile
            self._faults.refuse_held(region)

    async def _ask(self, region: str, *, rollback: bool) -> bool:
        request = DeployRequest(rollback=rollback).model_dump()
        answer = await self._run.ask(region, "deploy", request, self._run.board.post)
        return Done.model_validate(answer).changed


def _read(path: Path) -> tuple[str, ...]:
    try:
        return _RECORD.validate_json(path.read_bytes()).to_roll_back
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError) as error:
        raise RpcError(
            "not-possible", f"{path} does not say what the last deployment changed: {error}"
        ) from error


def _write(path: Path, regions: tuple[str, ...]) -> None:
    try:
        write_private(path, _RECORD.dump_json(_Record(regions), indent=1))
    except OSError as error:
        raise RpcError("not-possible", f"{path} can't be written: {error.strerror}") from error
