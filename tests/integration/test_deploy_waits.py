"""Deployments to regions that are starting or held down by a fault, with wardens that have nothing behind them."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from tests.integration.ports import free_base

from atoll.cell import processes, rollouts, run
from atoll.cell.answer import Supervisor
from atoll.cell.backoff import RestartPolicy
from atoll.cell.client import NotRunning, OperationFailed, SupervisorClient
from atoll.cell.managed import ManagedProcess, ProcessSpec
from atoll.cell.paths import RunPaths
from atoll.cell.prepare import Wish, prepare
from atoll.cell.progress import Progress
from atoll.cell.run import Run
from atoll.cell.status import ProcessState
from atoll.clock import SystemClock
from atoll.rpc import Client, RpcError, serve_streaming

pytestmark = pytest.mark.timeout(300)

TOPOLOGY = Path(__file__).parents[2] / "infra" / "topologies" / "local.toml"
SLOW = "eu-west"

WARDEN = """
import asyncio, os, sys
from pathlib import Path
from atoll.rpc import serve_streaming

async def main():
    socket, asked, wait = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    while wait.exists():
        await asyncio.sleep(0.02)

    async def handle(method, params, progress):
        if method == "deploy":
            with asked.open("a") as file:
                file.write(socket.parent.name + "\\n")
            if asked.with_name("dies").exists():
                os._exit(9)
            return {"changed": True}
        return {}

    async with await serve_streaming(socket, handle):
        await asyncio.Event().wait()

asyncio.run(main())
"""


@dataclass(slots=True)
class Deployment:
    """Three regions whose wardens only say what they were asked, and the supervisor as commands see it."""

    run: Run
    client: SupervisorClient
    folder: Path
    supervisor: Supervisor

    @property
    def asked(self) -> list[str]:
        """The regions that were asked to deploy, in order."""
        path = self.folder / "asked"
        return path.read_text().split() if path.exists() else []

    def hold(self, region: str) -> Path:
        """The warden of a region does not come up while the file that this makes is there."""
        path = self.folder / f"{region}.wait"
        path.touch()
        return path

    async def restart(self, region: str) -> None:
        """As a heal does right after a kill."""
        self.run.wardens[region].kill()
        await self.run.wardens[region].wait_ended()
        self.run.wardens[region].heal()

    async def deploy(self, *, rollback: bool = False) -> list[Progress]:
        """What was said on the way."""
        said: list[Progress] = []
        async with asyncio.timeout(60):
            await self.client.deploy(said.append, rollback=rollback)
        return said


@asynccontextmanager
async def deployment(folder: Path) -> AsyncIterator[Deployment]:
    paths = RunPaths.below(folder)
    paths.root.mkdir(mode=0o700)
    clock = SystemClock()
    own = processes.identify(os.getpid())
    assert own is not None
    plan = await prepare(paths, Wish(TOPOLOGY, None, free_base(6)), dict(os.environ), own, clock)
    made = Run(plan, paths, clock, Random(1))
    made.wardens = {region: _warden(folder, paths, region) for region in plan.wardens}
    supervisor = Supervisor(made, clock, asyncio.Event(), asyncio.Event())
    tasks = [asyncio.create_task(warden.run()) for warden in made.wardens.values()]
    try:
        async with await serve_streaming(paths.supervisor_socket, supervisor.handle):
            yield Deployment(made, SupervisorClient(paths), folder, supervisor)
    finally:
        for warden in made.wardens.values():
            await warden.stop()
        await asyncio.gather(*tasks)
        await made.views.close()


def _warden(folder: Path, paths: RunPaths, region: str) -> ManagedProcess:
    socket = paths.region(region).warden_socket

    async def ready() -> bool:
        with contextlib.suppress(RpcError):
            await Client(socket).call("ping")
            return True
        return False

    asked, wait = folder / "asked", folder / f"{region}.wait"
    spec = ProcessSpec(
        name="warden",
        argv=(sys.executable, "-c", WARDEN, str(socket), str(asked), str(wait)),
        env=os.environ,
        log=folder / f"{region}.log",
        ready=ready,
    )
    return ManagedProcess(spec, SystemClock(), Random(), RestartPolicy(base_s=0.02, cap_s=0.05))


async def test_regions_that_are_starting_are_waited_for(tmp_path: Path) -> None:
    async with deployment(tmp_path) as it:
        await it.deploy()
        regions = list(it.run.wardens)
        assert it.asked == regions
        wait = it.hold(SLOW)
        await it.restart(SLOW)
        deploying = asyncio.create_task(it.deploy())
        await asyncio.sleep(0.5)
        assert it.asked == regions, "no region is changed while another one is not there"
        wait.unlink()
        said = await deploying
        assert it.asked == 2 * regions
        assert said[0].step == rollouts.STARTING


async def test_one_that_never_starts_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "START_S", 0.3)
    async with deployment(tmp_path) as it:
        it.hold(SLOW)
        await it.restart(SLOW)
        for region, warden in it.run.wardens.items():
            if region != SLOW:
                await warden.wait_ready()
        with pytest.raises(OperationFailed, match=f"{SLOW}.*nothing was changed.*atoll status") as refused:
            await it.deploy()
        assert refused.value.kind == "region-unavailable"
        assert it.asked == []


@pytest.mark.parametrize("target", [SLOW, f"{SLOW}/warden"])
async def test_a_region_that_a_fault_holds_down_is_refused_before_anything_is_changed(
    tmp_path: Path, target: str
) -> None:
    async with deployment(tmp_path) as it:
        await it.deploy()
        before = it.asked
        await it.client.kill(target)
        with pytest.raises(OperationFailed, match=f"{target} is under a kill.*fault heal {SLOW}") as refused:
            await it.deploy()
        assert refused.value.kind == "not-possible"
        with pytest.raises(OperationFailed, match=f"{target} is under a kill|heal it first"):
            await it.client.kill(f"{SLOW}/agent")
        assert it.asked == before
        await it.client.heal(SLOW)
        await it.deploy()
        assert it.asked == 2 * before


async def test_a_warden_that_dies_over_it_is_not_taken_for_the_supervisor(tmp_path: Path) -> None:
    async with deployment(tmp_path) as it:
        (tmp_path / "dies").touch()
        with pytest.raises(OperationFailed, match=r"us-east.*does not answer.*--rollback") as failed:
            await it.deploy()
        assert failed.value.kind == "region-unavailable"
        assert it.asked == ["us-east"], "those behind it stay as they are"
        (tmp_path / "dies").unlink()
        await it.deploy(rollback=True)
        assert it.asked == ["us-east", "us-east"]


async def test_a_fault_on_a_process_of_a_region_that_is_starting(tmp_path: Path) -> None:
    async with deployment(tmp_path) as it:
        await it.run.wardens[SLOW].wait_ready()
        it.hold(SLOW)
        await it.restart(SLOW)
        with pytest.raises(OperationFailed, match=f"{SLOW} does not answer.*atoll status") as failed:
            await it.client.kill(f"{SLOW}/agent")
        assert failed.value.kind == "region-unavailable"
        assert it.supervisor._faults.statuses() == (), "what was not done is not in force"


async def test_control_such_an_error_is_the_supervisor_s_own_absence_to_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "LOST", frozenset())
    async with deployment(tmp_path) as it:
        await it.run.wardens[SLOW].wait_ready()
        it.hold(SLOW)
        await it.restart(SLOW)
        with pytest.raises(NotRunning):
            await it.client.kill(f"{SLOW}/agent")


async def test_links_that_are_down_are_not_taken_for_the_supervisor(tmp_path: Path) -> None:
    async with deployment(tmp_path) as it:
        with pytest.raises(OperationFailed, match="fault heal links") as failed:
            await it.client.cut(SLOW)
        assert failed.value.kind == "links-unavailable"
        await it.client.heal()
        assert all(warden.state is not ProcessState.KILLED for warden in it.run.wardens.values())
