"""More replicas for a while: through the one writer, unseen by the sets that are kept, undone by no deployment."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.serve_documents import importing, status, wanted

from atoll.clock import ManualClock
from atoll.serve.client import ServeError, Unreachable
from atoll.serve.deploy import Deployer, DeploymentFailed
from atoll.serve.document import ApplicationSet
from atoll.serve.raised import raised
from atoll.serve.status import ServeStatus
from atoll.serve.store import SetStore

GOOD = wanted()
BROKEN = importing(GOOD, "one", "shop:broken")
OTHER = importing(GOOD, "two", "shop:other")
DOWN = Unreachable("http://127.0.0.1:1", "refused")


class Remembers:
    """A Serve that runs at once what it is given, with as many replicas as that asks for; but not what is broken."""

    def __init__(self) -> None:
        self.puts: list[ApplicationSet] = []
        self.down = False

    async def applications(self) -> ServeStatus:
        if not self.puts:
            return status("no-serve")
        given = {one.name: one for one in self.puts[-1].applications}
        known = status("startup-failed" if given["one"].import_path == "shop:broken" else "running")
        there = {}
        for name, application in known.applications.items():
            count = given[name].deployments[0].autoscaling_config.min_replicas
            deployments = {
                key: replace(one, replicas=one.replicas[:1] * count)
                for key, one in application.deployments.items()
            }
            there[name] = replace(application, deployed_app_config=given[name], deployments=deployments)
        return replace(known, applications=there)

    async def put(self, wanted: ApplicationSet) -> None:
        if self.down:
            raise DOWN
        self.puts.append(wanted)


class World:
    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.store = SetStore(folder / "applied.json", folder / "good.json")
        self.serve = Remembers()
        self.deployer = Deployer(self.serve, self.store, self.clock, timeout_s=30, pause=self._pause)

    async def _pause(self, seconds: float) -> None:
        self.clock.advance(seconds)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def minimums(given: ApplicationSet) -> dict[str, int]:
    return {one.name: one.deployments[0].autoscaling_config.min_replicas for one in given.applications}


async def test_a_raise_is_sent_once_and_taken_back_once(world: World) -> None:
    await world.deployer.deploy(GOOD)
    assert await world.deployer.raise_to({"one": 3})
    assert not await world.deployer.raise_to({"one": 3})
    assert world.serve.puts[1:] == [raised(GOOD, {"one": 3})]
    assert await world.deployer.raise_to({})
    assert world.serve.puts[2:] == [GOOD]


async def test_what_is_kept_knows_nothing_of_it_and_a_rollback_keeps_it(world: World) -> None:
    await world.deployer.deploy(OTHER)
    await world.deployer.deploy(GOOD)
    await world.deployer.raise_to({"one": 3})
    assert world.store.good() == world.store.applied() == GOOD
    assert (await world.deployer.rollback()).changed
    assert world.serve.puts[-1] == raised(OTHER, {"one": 3})
    assert world.store.good() == OTHER
    await world.deployer.raise_to({})
    assert world.serve.puts[-1] == OTHER


async def test_a_deployment_meanwhile_does_not_undo_it(world: World) -> None:
    await world.deployer.deploy(GOOD)
    await world.deployer.raise_to({"one": 3})
    assert not (await world.deployer.deploy(GOOD)).changed
    await world.deployer.deploy(OTHER)
    assert minimums(world.serve.puts[-1]) == {"one": 3, "two": 2}
    assert not await world.deployer.raise_to({"one": 3})


async def test_nothing_is_sent_where_nothing_was_deployed_or_the_last_deployment_failed(world: World) -> None:
    assert not await world.deployer.raise_to({"one": 3})
    assert world.serve.puts == []
    await world.deployer.raise_to({})
    await world.deployer.deploy(GOOD)
    with pytest.raises(DeploymentFailed):
        await world.deployer.deploy(BROKEN)
    sent = len(world.serve.puts)
    assert not await world.deployer.raise_to({"one": 3})
    assert len(world.serve.puts) == sent
    await world.deployer.rollback()
    assert minimums(world.serve.puts[-1]) == {"one": 3, "two": 2}, "it was wanted, and now it can be had"


async def test_what_did_not_arrive_is_sent_again(world: World) -> None:
    await world.deployer.deploy(GOOD)
    world.serve.down = True
    with pytest.raises(ServeError):
        await world.deployer.raise_to({"one": 3})
    world.serve.down = False
    assert await world.deployer.raise_to({"one": 3})
    assert world.serve.puts[-1] == raised(GOOD, {"one": 3})


async def test_what_may_have_arrived_is_taken_back_all_the_same(world: World) -> None:
    await world.deployer.deploy(GOOD)
    world.serve.down = True
    with pytest.raises(ServeError):
        await world.deployer.raise_to({"one": 3})
    world.serve.down = False
    assert await world.deployer.raise_to({})
    assert world.serve.puts[-1] == GOOD


@given(st.dictionaries(st.sampled_from(["one", "two", "three"]), st.integers(0, 50)))
def test_only_minimums_change_and_stay_within_what_the_topology_says(wanted_minimums: dict[str, int]) -> None:
    result = raised(GOOD, wanted_minimums)
    for before, after in zip(GOOD.applications, result.applications, strict=True):
        (old,), (new,) = before.deployments, after.deployments
        least = new.autoscaling_config.min_replicas
        known = old.autoscaling_config
        assert known.min_replicas <= least <= known.max_replicas
        assert least == min(max(known.min_replicas, wanted_minimums.get(before.name, 0)), known.max_replicas)
        back = replace(
            new, autoscaling_config=replace(new.autoscaling_config, min_replicas=known.min_replicas)
        )
        assert replace(after, deployments=(back,)) == before
