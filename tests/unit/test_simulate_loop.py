"""Virtual time: real coroutines, no waiting, the same order each time."""

import asyncio
import time

import pytest

from atoll.simulate.loop import Stuck, VirtualLoop, run


def test_an_hour_passes_at_once() -> None:
    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert run(VirtualLoop(), main()) == pytest.approx(3600)
    assert time.monotonic() - began < 10


def test_timers_fire_in_order_and_timeouts_at_their_time() -> None:
    loop = VirtualLoop()
    told: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        told.append((name, round(loop.time(), 6)))

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.gather(sleeper("late", 3), sleeper("early", 1), sleeper("middle", 2))
        told.append(("timeout", round(loop.time(), 6)))

    run(loop, main())
    assert told == [("early", 1.0), ("middle", 2.0), ("timeout", 2.5)]


def test_the_clock_is_the_loops() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        before = loop.clock.wall()
        await asyncio.sleep(5)
        assert loop.clock.monotonic() == loop.time()
        assert loop.clock.wall() - before == pytest.approx(5)

    run(loop, main())


def test_a_deadlock_is_told_instead_of_hanging() -> None:
    async def main() -> None:
        await asyncio.sleep(7)
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match=r"after 7\.000 s"):
        run(VirtualLoop(), main())


def test_what_main_leaves_behind_is_cancelled() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.sleep(1e9)
        finally:
            ended.append("cancelled")

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(forever())
        await asyncio.sleep(1)
        assert not task.done()

    run(VirtualLoop(), main())
    assert ended == ["cancelled"]
