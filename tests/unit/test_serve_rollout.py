import asyncio

import pytest

from atoll.serve.rollout import Outcome, RegionStep, Rollout, Step, roll_out

CHANGED = Outcome(Step.CHANGED)
FAILED = Outcome(Step.FAILED, "no cities")


def steps(rollout: Rollout) -> list[Step]:
    return [item.step for item in rollout.steps]


def test_one_region_after_the_other() -> None:
    rollout = Rollout(["a", "b"])
    assert rollout.begin() == ("a",)
    assert rollout.begin() == ()
    rollout.end("a", CHANGED)
    assert rollout.begin() == ("b",)
    rollout.end("b", Outcome(Step.UNCHANGED))
    assert rollout.begin() == ()
    assert steps(rollout) == [Step.CHANGED, Step.UNCHANGED]
    assert rollout.to_roll_back == ("a",)


def test_it_stops_at_the_first_failure() -> None:
    rollout = Rollout(["a", "b", "c", "d"])
    for region, outcome in (("a", CHANGED), ("b", CHANGED), ("c", FAILED)):
        assert rollout.begin() == (region,)
        rollout.end(region, outcome)
    assert rollout.begin() == ()
    assert steps(rollout) == [Step.CHANGED, Step.CHANGED, Step.FAILED, Step.SKIPPED]
    assert rollout.failed == ("c",)
    assert rollout.to_roll_back == ("c", "b", "a")
    assert rollout.steps[2].detail == "no cities"


def test_side_by_side_those_that_are_under_way_come_to_their_end() -> None:
    rollout = Rollout(["a", "b", "c"], width=2)
    assert rollout.begin() == ("a", "b")
    rollout.end("a", FAILED)
    assert rollout.begin() == ()
    rollout.end("b", CHANGED)
    assert steps(rollout) == [Step.FAILED, Step.CHANGED, Step.SKIPPED]


def test_only_what_was_begun_can_end_and_only_with_an_outcome() -> None:
    rollout = Rollout(["a"])
    with pytest.raises(ValueError, match="region a is waiting"):
        rollout.end("a", CHANGED)
    rollout.begin()
    with pytest.raises(ValueError, match="no outcome"):
        rollout.end("a", Outcome(Step.RUNNING))


def test_no_region_at_a_time_is_refused() -> None:
    with pytest.raises(ValueError, match="use 1 or more"):
        Rollout(["a"], width=0)


async def test_the_driver_deploys_in_order_and_stops() -> None:
    asked: list[str] = []
    heard: list[tuple[RegionStep, ...]] = []

    async def deploy(region: str) -> Outcome:
        asked.append(region)
        await asyncio.sleep(0)
        return FAILED if region == "b" else CHANGED

    rollout = Rollout(["a", "b", "c"])
    await roll_out(rollout, deploy, heard.append)
    assert asked == ["a", "b"]
    assert [item.step for item in heard[0]] == [Step.RUNNING, Step.WAITING, Step.WAITING]
    assert heard[-1] == rollout.steps
    assert steps(rollout) == [Step.CHANGED, Step.FAILED, Step.SKIPPED]


async def test_the_driver_runs_as_many_as_are_allowed() -> None:
    together = asyncio.Barrier(3)

    async def deploy(region: str) -> Outcome:
        await together.wait()
        return CHANGED

    rollout = Rollout(["a", "b", "c"], width=3)
    async with asyncio.timeout(5):
        await roll_out(rollout, deploy, lambda _: None)
    assert steps(rollout) == [Step.CHANGED] * 3
