"""Identity, search and ending of real processes. Every test marks its own with a folder of its own."""

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import pytest

from atoll.cell import processes, reaper
from atoll.cell.processes import ProcessId

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cells run on Linux only")

SLEEP = "import time; time.sleep(600)"
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""

Spawn = Callable[..., Coroutine[None, None, asyncio.subprocess.Process]]


@pytest.fixture
async def spawn(tmp_path: Path) -> AsyncIterator[Spawn]:
    """Starts Python code marked with this test's folder; kills what is left."""
    started: list[asyncio.subprocess.Process] = []

    async def start(code: str, *, region: str | None = None, run: str = "run") -> asyncio.subprocess.Process:
        environment = {**os.environ, "ATOLL_RUN": f"{tmp_path}/{run}"}
        if region is not None:
            environment["ATOLL_REGION"] = region
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            textwrap.dedent(code),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for left in processes.find_marked(str(tmp_path)):
        processes.signal(left.identity, signal.SIGKILL)
    for process in started:
        await process.wait()  # ends when nobody holds its output any more


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


def identity_of(process: asyncio.subprocess.Process) -> ProcessId:
    identity = processes.identify(process.pid)
    assert identity is not None
    return identity


async def test_a_reused_number_is_another_process(spawn: Spawn) -> None:
    process = await spawn(SLEEP)
    identity = identity_of(process)
    earlier = ProcessId(identity.pid, identity.start_ticks - 1)

    assert not processes.signal(earlier, signal.SIGKILL)
    assert not processes.is_running(earlier)
    async with asyncio.timeout(10):
        await processes.wait_gone(earlier)  # gone already: returns at once
    assert process.returncode is None
    assert processes.is_running(identity)

    assert processes.signal(identity, signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL


async def test_wait_gone_returns_at_the_end_of_a_process_that_is_no_child(spawn: Spawn) -> None:
    parent = await spawn(f"""
        import subprocess, sys, time
        print(subprocess.Popen([sys.executable, "-c", {SLEEP!r}]).pid, flush=True)
        time.sleep(600)
    """)
    grandchild = processes.identify(int(await line(parent)))
    assert grandchild is not None
    waiting = asyncio.create_task(processes.wait_gone(grandchild))
    await asyncio.sleep(0)
    assert not waiting.done()
    processes.signal(grandchild, signal.SIGKILL)
    async with asyncio.timeout(10):
        await waiting
    assert not processes.is_running(grandchild)  # though its parent leaves it a zombie


async def test_find_marked_matches_whole_folders_and_regions(spawn: Spawn, tmp_path: Path) -> None:
    eu = await spawn(SLEEP, region="eu-west", run="home/eu")
    us = await spawn(SLEEP, region="us-east", run="home/us")
    other = await spawn(SLEEP, region="eu-west", run="home2")

    def found(mark: str, region: str | None = None) -> set[int]:
        return {one.identity.pid for one in processes.find_marked(f"{tmp_path}/{mark}", region)}

    assert found("home") == {eu.pid, us.pid}
    assert found("home/") == {eu.pid, us.pid}
    assert found("home", "eu-west") == {eu.pid}
    assert found("home/us") == {us.pid}
    assert found("home2") == {other.pid}
    assert found("hom") == set()


async def test_find_marked_tells_what_a_process_is(spawn: Spawn, tmp_path: Path) -> None:
    process = await spawn(SLEEP, region="eu-west")
    (found,) = processes.find_marked(str(tmp_path))
    assert found.identity == identity_of(process)
    assert found.parent == os.getpid()
    assert found.session == process.pid
    assert (found.run, found.region) == (f"{tmp_path}/run", "eu-west")
    assert found.command == (sys.executable, "-c", SLEEP)


async def test_find_marked_finds_children_that_lost_the_mark(spawn: Spawn, tmp_path: Path) -> None:
    parent = await spawn(
        f"""
        import subprocess, sys, time
        print(subprocess.Popen([sys.executable, "-c", {SLEEP!r}], env={{"PATH": "/"}}).pid, flush=True)
        time.sleep(600)
        """,
        region="eu-west",
    )
    child = int(await line(parent))
    found = {one.identity.pid: one.region for one in processes.find_marked(str(tmp_path))}
    assert found == {parent.pid: "eu-west", child: "eu-west"}


# Fills its environment with zeros, in whole or up to a variable, as programs with a long title in `ps` do.
OVERWRITE = """
import ctypes, os, time
fields = open("/proc/self/stat").read().rpartition(")")[2].split()
start, end = int(fields[47]), int(fields[48])  # env_start and env_end of proc(5)
before = {before!r}
length = open("/proc/self/environ", "rb").read().index(before) if before else end - start
ctypes.memset(start, 0, length)
print(os.getpid(), flush=True)
time.sleep(600)
"""
WHOLE = OVERWRITE.format(before=b"")
INTACT = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


@pytest.mark.parametrize(("code", "counts"), [(WHOLE, True), (INTACT, False)])
async def test_an_orphan_without_marks_counts_only_if_it_overwrote_its_environment(
    spawn: Spawn, tmp_path: Path, code: str, counts: bool
) -> None:
    """It has no parent to tell by; its session tells, unless its environment says it is someone else's."""
    leader = await spawn(f"""
        import os, subprocess, sys, time
        if os.fork() == 0:  # starts the orphan and ends
            subprocess.Popen([sys.executable, "-c", {code!r}], env={{"PATH": "/"}})
            os._exit(0)
        os.wait()
        time.sleep(600)
    """)
    orphan = int(await line(leader))
    try:
        found = {one.identity.pid for one in processes.find_marked(str(tmp_path))}
        assert found == ({leader.pid, orphan} if counts else {leader.pid})
    finally:
        os.kill(orphan, signal.SIGKILL)


async def test_the_last_of_a_session_is_found_by_whoever_knows_the_session(
    spawn: Spawn, tmp_path: Path
) -> None:
    alone = await spawn(WHOLE, region="eu-west")
    await line(alone)
    assert processes.find_marked(str(tmp_path)) == []
    (found,) = processes.find_marked(str(tmp_path), "eu-west", sessions=[alone.pid])
    assert found.identity == identity_of(alone)
    assert processes.signal(found.identity, signal.SIGKILL)  # the fixture can't find it


async def test_the_last_of_a_session_is_found_by_where_its_output_goes(spawn: Spawn, tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder in (mine, other):
        folder.mkdir()
    redirect = "import os; os.dup2(os.open({path!r}, os.O_WRONLY | os.O_CREAT), 2)\n"
    alone = await spawn(redirect.format(path=str(mine / "log")) + WHOLE)
    await line(alone)
    try:
        assert processes.find_marked(str(tmp_path), folders={other: "eu-west"}) == []
        (found,) = processes.find_marked(str(tmp_path), folders={other: "us-east", mine: "eu-west"})
        assert (found.identity, found.region) == (identity_of(alone), "eu-west")
        assert processes.find_marked(str(tmp_path), "us-east", folders={mine: "eu-west"}) == []
    finally:
        os.kill(alone.pid, signal.SIGKILL)  # the fixture can't find it


async def test_a_region_that_was_overwritten_is_told_by_the_session(spawn: Spawn, tmp_path: Path) -> None:
    code = OVERWRITE.format(before=b"ATOLL_RUN=")
    leader = await spawn(
        f"""
        import os, subprocess, sys, time
        marks = {{name: os.environ[name] for name in ("ATOLL_REGION", "ATOLL_RUN")}}
        if os.fork() == 0:
            subprocess.Popen([sys.executable, "-c", {code!r}], env=marks)
            os._exit(0)
        os.wait()
        time.sleep(600)
        """,
        region="eu-west",
    )
    orphan = int(await line(leader))
    found = {one.identity.pid for one in processes.find_marked(str(tmp_path), "eu-west")}
    assert found == {leader.pid, orphan}


async def test_end_asks_first_and_kills_the_deaf(spawn: Spawn) -> None:
    polite, deaf = await spawn(SLEEP), await spawn(DEAF)
    assert await line(deaf) == "deaf"
    await processes.end([identity_of(polite), identity_of(deaf)], grace_s=0.2)
    assert await polite.wait() == -signal.SIGTERM
    assert await deaf.wait() == -signal.SIGKILL


async def test_end_wakes_the_frozen(spawn: Spawn) -> None:
    frozen = await spawn(SLEEP)
    processes.signal(identity_of(frozen), signal.SIGSTOP)
    async with asyncio.timeout(20):
        await processes.end([identity_of(frozen)], grace_s=60)
    assert await frozen.wait() == -signal.SIGTERM


async def test_end_all_ends_what_is_started_meanwhile(spawn: Spawn, tmp_path: Path) -> None:
    """A process that answers SIGTERM by starting another one, and goes."""
    process = await spawn(f"""
        import signal, subprocess, sys, time
        def heir(*_):
            subprocess.Popen([sys.executable, "-c", {SLEEP!r}])
            sys.exit(0)
        signal.signal(signal.SIGTERM, heir)
        print("ready", flush=True)
        time.sleep(600)
    """)
    assert await line(process) == "ready"
    mark = str(tmp_path)
    await processes.end_all(lambda: [one.identity for one in processes.find_marked(mark)], grace_s=20)
    assert processes.find_marked(mark) == []


async def test_memory_is_in_bytes_and_missing_processes_are_told(spawn: Spawn) -> None:
    process = await spawn(
        "block = bytearray(b'x') * 50_000_000; print('full', flush=True); import time; time.sleep(600)"
    )
    assert await line(process) == "full"
    assert 50_000_000 < processes.memory_pss(process.pid) < 200_000_000
    process.kill()
    await process.wait()
    with pytest.raises(ProcessLookupError):
        processes.memory_pss(process.pid)


async def test_orphans_come_to_the_subreaper_and_are_buried(spawn: Spawn) -> None:
    """In a process of its own: to be a subreaper changes the whole process."""
    warden = await spawn(f"""
        import asyncio, signal, subprocess, sys
        from atoll.cell import processes, reaper

        async def main():
            reaper.become_subreaper()
            burying = asyncio.create_task(reaper.reap_adopted(patience_s=0.05))
            starter = await asyncio.create_subprocess_exec(
                sys.executable, "-c",
                "import subprocess, sys;"
                "print(subprocess.Popen([sys.executable, '-c', {SLEEP!r}], stdout=subprocess.DEVNULL).pid)",
                stdout=subprocess.PIPE,
            )
            output, _ = await starter.communicate()
            orphan = processes.identify(int(output))
            print(open(f"/proc/{{orphan.pid}}/stat").read().rpartition(")")[2].split()[1], flush=True)
            processes.signal(orphan, signal.SIGKILL)
            await processes.wait_gone(orphan)
            while processes.zombie_children():
                await asyncio.sleep(0.01)
            own = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(7)")
            print(await own.wait(), flush=True)

        asyncio.run(main())
    """)
    async with asyncio.timeout(30):
        assert int(await line(warden)) == warden.pid
        assert await line(warden) == "7"  # asyncio's own children keep their status
        assert await warden.wait() == 0


async def test_a_child_dies_with_its_parent(spawn: Spawn) -> None:
    parent = await spawn(f"""
        import subprocess, sys, time
        from atoll.cell import reaper
        child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], preexec_fn=reaper.die_with_parent())
        print(child.pid, flush=True)
        time.sleep(600)
    """)
    child = processes.identify(int(await line(parent)))
    assert child is not None
    parent.kill()
    async with asyncio.timeout(10):
        await processes.wait_gone(child)


def test_elsewhere_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    for act in (lambda: processes.identify(1), lambda: processes.find_marked("/x"), reaper.become_subreaper):
        with pytest.raises(processes.UnsupportedPlatformError, match=r"on Linux.*this is darwin"):
            act()
