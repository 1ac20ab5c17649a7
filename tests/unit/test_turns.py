"""Who starts one after the other: one at a time, whatever becomes of the others."""

import asyncio
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.test_ray_settings import SETTINGS

from atoll.cell.ray_head import RayHead, RayStartError
from atoll.cell.turns import turn

HOLDER = """
import asyncio, sys
from pathlib import Path
from atoll.cell.turns import turn

async def main():
    async with turn(Path(sys.argv[1])):
        print("mine", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def most_at_once(locks: list[Path]) -> int:
    """How many of those who want their turn by these files had it together."""
    inside: set[int] = set()
    most = 0

    async def work(number: int, lock: Path) -> None:
        nonlocal most
        async with turn(lock):
            inside.add(number)
            most = max(most, len(inside))
            await asyncio.sleep(0.01)
            inside.remove(number)

    await asyncio.gather(*(work(number, lock) for number, lock in enumerate(locks)))
    return most


async def test_one_at_a_time_has_its_turn(tmp_path: Path) -> None:
    assert await most_at_once([tmp_path / "lock"] * 4) == 1
    assert await most_at_once([tmp_path / str(number) for number in range(4)]) == 4, "control: a file each"


async def test_one_that_fails_or_gives_up_keeps_nobody_waiting(tmp_path: Path) -> None:
    lock = tmp_path / "lock"

    async def fail() -> None:
        async with turn(lock):
            waiting = asyncio.create_task(most_at_once([lock]))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        await fail()
    async with asyncio.timeout(10), turn(lock):
        pass


async def test_the_turn_of_a_killed_process_ends_with_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(lock), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"mine\n"
    waiting = asyncio.create_task(most_at_once([lock]))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    holder.kill()
    async with asyncio.timeout(10):
        assert await waiting == 1
    await holder.wait()


async def test_ray_is_started_when_it_is_its_turn(tmp_path: Path) -> None:
    """What is started instead of it ends at once, so a start that is tried has failed."""
    lock = tmp_path / "lock"
    with tempfile.TemporaryDirectory(prefix="atoll-") as short:
        alone = replace(SETTINGS, python="/bin/false", temp_dir=Path(short) / "ray")
        async with turn(lock):
            with pytest.raises(RayStartError, match="ended with status 1"):  # control: no turn to wait for
                await RayHead(alone).start()
            starting = asyncio.create_task(RayHead(replace(alone, start_turn=lock)).start())
            await asyncio.sleep(0.3)
            assert not starting.done()
        with pytest.raises(RayStartError, match="ended with status 1"):
            await starting
