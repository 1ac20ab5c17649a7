"""Where tests run side by side nobody starts Ray, and where Ray is started nothing runs side by side."""

import asyncio
import sys
from pathlib import Path

import pytest
from tests.integration.ports import free_base

from atoll.cell.client import LaunchOptions, down, launch
from atoll.cell.paths import RunPaths
from atoll.cell.processes import find_marked
from atoll.cell.status import RegionState

ROOT = Path(__file__).parents[2]


async def test_a_region_that_is_started_here_is_one_without_ray(tmp_path: Path) -> None:
    paths = RunPaths.below(tmp_path)
    topology = ROOT / "infra" / "topologies" / "local.toml"
    try:
        operator = await launch(paths, LaunchOptions(topology, 1, free_base(2), detach=True))
        async with asyncio.timeout(60):
            while (await operator.status(memory=False)).regions["us-east"].state is not RegionState.READY:
                await asyncio.sleep(0.1)
        commands = [" ".join(process.command) for process in find_marked(paths.home)]
    finally:
        await down(paths, lambda _: None)
    assert any("warden_without_ray" in command for command in commands)
    assert not any("ray.scripts" in command or "gcs_server" in command for command in commands)


async def test_a_test_on_real_clusters_refuses_to_run_side_by_side() -> None:
    harmless = "tests/integration/live/test_up_goes_wrong.py::test_a_half_written_topology_starts_nothing"
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--numprocesses", "1", harmless),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await run.communicate()
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert b"run one after another" in said
