"""A supervisor is killed, alone and with its warden, while Ray starts: nothing of the run is left."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.live.regions import ROOT
from tests.integration.ports import free_base

from atoll.cell import processes
from atoll.cell.client import LaunchOptions, NotRunning, connect, down, launch
from atoll.cell.facts import AlreadyRunning
from atoll.cell.paths import RunPaths

TOPOLOGY = ROOT / "infra" / "topologies" / "local.toml"

pytestmark = pytest.mark.timeout(300)


async def test_a_killed_supervisor_leaves_nothing(tmp_path: Path) -> None:
    paths = RunPaths.below(tmp_path)
    options = LaunchOptions(TOPOLOGY, regions=1, port_base=free_base(2), detach=True)
    client = await launch(paths, options)
    try:
        await _ray_is_coming_up(paths)
        with pytest.raises(AlreadyRunning, match="atoll down"):
            await launch(paths, options)
        status = await client.status()
        supervisor = processes.identify(status.supervisor_pid)
        assert supervisor is not None
        assert {found.region for found in processes.find_marked(status.run)} >= {None, "us-east"}
        processes.signal(supervisor, signal.SIGKILL)
        await _until(lambda: not processes.find_marked(paths.home))
        with pytest.raises(NotRunning):
            await connect(paths)
    finally:
        await down(paths, lambda _: None)
    assert not processes.find_marked(paths.home)


async def test_what_a_killed_warden_and_supervisor_leave_is_reaped(tmp_path: Path) -> None:
    paths = RunPaths.below(tmp_path)
    client = await launch(paths, LaunchOptions(TOPOLOGY, 1, free_base(2), detach=True))
    try:
        await _ray_is_coming_up(paths)
        status = await client.status()
        everything = processes.find_marked(paths.home)
        # Both at once: nobody is left to clean up.
        warden = next(part.pid for part in status.regions["us-east"].processes if part.name == "warden")
        for pid in (status.supervisor_pid, warden):
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        await down(paths, lambda _: None)
        assert not any(processes.is_running(found.identity) for found in everything)
    finally:
        await down(paths, lambda _: None)


async def _ray_is_coming_up(paths: RunPaths) -> None:
    """Returns at a bad moment for whoever has to clean up: Ray's first process is there and nobody's child yet."""
    await _until(
        lambda: any("gcs_server" in p.command[0] for p in processes.find_marked(paths.home) if p.command)
    )


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.05)
