"""Processes that are kept up, with real ones: crashes, faults, ends; and what ends a supervisor or keeps one away.

What a killed supervisor leaves is in `live/test_reaping.py`.
"""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest
from tests.integration.ports import free_base

from atoll.cell import client, processes
from atoll.cell.backoff import RestartPolicy
from atoll.cell.client import LaunchOptions, StartFailed, down, launch
from atoll.cell.managed import ManagedProcess, ProcessSpec
from atoll.cell.paths import RunPaths
from atoll.cell.status import ProcessState
from atoll.clock import SystemClock
from atoll.state.wiring import StateWiring, wire_namespaces, write_state_wiring
from atoll.topology import parse
from atoll.topology.wiring import Address, StoreAccess

TOPOLOGY = Path(__file__).parents[2] / "infra" / "topologies" / "local.toml"

CHILD = """
import os, pathlib, signal, sys, threading
starts = pathlib.Path(sys.argv[1])
with starts.open("a") as file:
    file.write("start\\n")
count = len(starts.read_text().splitlines())
if count <= int(sys.argv[2]):
    sys.exit(3)
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1] + ".ready").write_text(str(os.getpid()))
threading.Event().wait()
"""

T = TypeVar("T")

pytestmark = pytest.mark.timeout(300)


@asynccontextmanager
async def kept_up(
    folder: Path, *, crashes: int = 0, grace_s: float = 10.0, extra: tuple[str, ...] = ()
) -> AsyncIterator[ManagedProcess]:
    """A process that ends by itself the first `crashes` times and then stays."""
    starts = folder / "starts"

    async def ready() -> bool:
        said = Path(f"{starts}.ready")
        return said.exists() and said.read_text() == str(process.status().pid)

    spec = ProcessSpec(
        name="child",
        argv=(sys.executable, "-c", CHILD, str(starts), str(crashes), *extra),
        env=os.environ,
        log=folder / "child.log",
        ready=ready,
        stop_grace_s=grace_s,
    )
    process = ManagedProcess(spec, SystemClock(), Random(), RestartPolicy(base_s=0.02, cap_s=0.05))
    task = asyncio.create_task(process.run())
    try:
        yield process
    finally:
        await process.stop()
        async with asyncio.timeout(60):
            await task
        assert process.state is ProcessState.STOPPED


def _starts(folder: Path) -> int:
    return len((folder / "starts").read_text().splitlines())


async def _within(wait: Awaitable[T]) -> T:
    async with asyncio.timeout(60):
        return await wait


async def test_a_process_that_crashes_is_started_until_it_stays(tmp_path: Path) -> None:
    async with kept_up(tmp_path, crashes=3) as process:
        await _within(process.wait_ready())
        assert process.restarts == 3
        assert process.last_end == "ended with status 3"
        assert _starts(tmp_path) == 4
        status = process.status()
        assert status.state is ProcessState.RUNNING
        assert status.memory_bytes > 0


async def test_sigkill_from_outside_is_a_crash(tmp_path: Path) -> None:
    async with kept_up(tmp_path) as process:
        await _within(process.wait_ready())
        first = process.status().pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await _within(process.wait_ended())
        await _within(process.wait_ready())
        assert process.restarts == 1
        assert process.last_end == "was ended by SIGKILL"
        assert process.status().pid != first


async def test_a_kill_holds_until_healed(tmp_path: Path) -> None:
    async with kept_up(tmp_path) as process:
        await _within(process.wait_ready())
        process.kill()
        await _within(process.wait_ended())
        await asyncio.sleep(0.3)  # many times the longest wait before a restart
        assert process.state is ProcessState.KILLED
        assert process.status().pid is None
        assert _starts(tmp_path) == 1
        process.heal()
        await _within(process.wait_ready())
        assert process.restarts == 0, "a heal is no crash"
        assert _starts(tmp_path) == 2


async def test_a_frozen_process_runs_on_when_healed(tmp_path: Path) -> None:
    async with kept_up(tmp_path) as process:
        await _within(process.wait_ready())
        pid = process.status().pid
        process.freeze()
        assert process.state is ProcessState.FROZEN
        await _until(lambda: _kernel_state(pid) == "T")
        process.heal()
        await _until(lambda: _kernel_state(pid) in "SR")
        assert process.state is ProcessState.RUNNING
        assert process.status().pid == pid


async def test_a_frozen_process_can_be_ended(tmp_path: Path) -> None:
    async with kept_up(tmp_path) as process:
        await _within(process.wait_ready())
        pid = process.status().pid
        process.freeze()
    assert pid is not None
    assert processes.identify(pid) is None


async def test_one_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    async with kept_up(tmp_path, grace_s=0.2, extra=("deaf",)) as process:
        await _within(process.wait_ready())
        pid = process.status().pid
    assert pid is not None
    assert processes.identify(pid) is None
    assert process.last_end == "was ended by SIGKILL"


async def test_children_die_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(tmp_path / "starts"), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    child = processes.identify(int(await _within(owner.stdout.readline())))
    assert child is not None
    owner.kill()
    await owner.wait()
    await _within(processes.wait_gone(child))


OWNER = f"""
import asyncio, os, sys
from pathlib import Path
from random import Random
from atoll.cell.managed import ManagedProcess, ProcessSpec
from atoll.clock import SystemClock

async def main():
    starts = sys.argv[1]
    async def ready():
        return Path(starts + ".ready").exists()
    argv = (sys.executable, "-c", {CHILD!r}, starts, "0")
    spec = ProcessSpec("child", argv, os.environ, Path(starts + ".log"), ready)
    process = ManagedProcess(spec, SystemClock(), Random())
    task = asyncio.create_task(process.run())
    await process.wait_ready()
    print(process.status().pid, flush=True)
    await task

asyncio.run(main())
"""


async def test_a_run_ends_when_its_folder_is_removed(tmp_path: Path) -> None:
    """Nobody could reach it any more."""
    paths = RunPaths.below(tmp_path)
    operator = await launch(paths, LaunchOptions(TOPOLOGY, 1, free_base(2), detach=True))
    supervisor = processes.identify((await operator.status()).supervisor_pid)
    assert supervisor is not None
    shutil.rmtree(paths.root)
    await asyncio.wait_for(processes.wait_gone(supervisor), 120)
    assert not processes.find_marked(paths.home)


async def test_a_run_ends_with_the_process_that_it_belongs_to(tmp_path: Path) -> None:
    paths = RunPaths.below(tmp_path)
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTER, client.SUPERVISOR, str(paths.root), str(TOPOLOGY), str(free_base(2)),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert starter.stdout is not None
        assert await _within(starter.stdout.readline()) == b"up\n"
        starter.kill()
        await starter.wait()
        await _until(lambda: not processes.find_marked(paths.home))
    finally:
        await down(paths, lambda _: None)


STARTER = """
import asyncio, sys
from pathlib import Path
from atoll.cell import client
from atoll.cell.paths import RunPaths

async def main():
    client.SUPERVISOR, root, topology, base = sys.argv[1:]
    await client.launch(RunPaths(Path(root)), client.LaunchOptions(Path(topology), 1, int(base)))
    print("up", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_bad_topology_starts_nothing(tmp_path: Path) -> None:
    topology = tmp_path / "half.toml"
    topology.write_text(TOPOLOGY.read_text()[:900])
    paths = RunPaths.below(tmp_path)
    with pytest.raises(StartFailed) as refusal:
        await launch(paths, LaunchOptions(topology, detach=True))
    assert refusal.value.status == 2
    assert str(topology) in str(refusal.value)
    assert not paths.root.exists()


async def test_data_of_an_earlier_run_keeps_its_namespaces_at_their_level(tmp_path: Path) -> None:
    paths = RunPaths.below(tmp_path)
    paths.prepare(("us-east",))
    kept = paths.region("us-east").state_wiring
    secret, nowhere = paths.secrets / "none", StoreAccess("redis://127.0.0.1:1")
    before = parse(TOPOLOGY.read_text() + '[namespaces.before]\nlevel = "strong"\n')
    write_state_wiring(
        kept,
        StateWiring(
            region="us-east",
            zone="us",
            cache=nowhere,
            state=nowhere,
            agent=Address("127.0.0.1", 1),
            agent_token_file=secret,
            session_key_file=secret,
            namespaces=wire_namespaces(before),
            revision=1,
            digest="",
        ),
    )
    written = kept.read_bytes()
    topology = tmp_path / "moved.toml"
    topology.write_text(TOPOLOGY.read_text() + '[namespaces.before]\nlevel = "session"\n')
    with pytest.raises(StartFailed) as refusal:
        await launch(paths, LaunchOptions(topology, 1, free_base(2), detach=True))
    assert refusal.value.status == 2
    for part in (str(topology), "namespaces.before would move from level 'strong'", f"remove {paths.root}"):
        assert part in str(refusal.value)
    assert kept.read_bytes() == written
    assert not processes.find_marked(paths.home)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.05)


def _kernel_state(pid: int | None) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
