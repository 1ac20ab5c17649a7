from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.serve_documents import importing, status, wanted

from atoll.clock import ManualClock
from atoll.serve.client import Refused, ServeError, Unreachable
from atoll.serve.deploy import RESEND_S, Deployer, DeploymentFailed, DeployProgress, NothingToRollBack
from atoll.serve.document import ApplicationSet
from atoll.serve.status import ServeStatus
from atoll.serve.store import SetStore

GOOD = wanted()
BROKEN = importing(GOOD, "one", "shop:broken")
DOWN = Unreachable("http://127.0.0.1:1", "refused")


class Script:
    """A Serve that says one thing after the other (the last for ever) before and after each set it is given."""

    def __init__(self, *says: str | ServeError) -> None:
        self._says = list(says)
        self.after: dict[int, list[str | ServeError]] = {}
        self.puts: list[ApplicationSet] = []
        self.refusals: list[ServeError] = []

    async def applications(self) -> ServeStatus:
        said = self._says.pop(0) if len(self._says) > 1 else self._says[0]
        if isinstance(said, ServeError):
            raise said
        return status(said)

    async def put(self, wanted: ApplicationSet) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.puts.append(wanted)
        self._says = self.after.get(len(self.puts), self._says)


class World:
    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.store = SetStore(folder / "applied.json", folder / "good.json")
        self.heard: list[str] = []

    def deployer(self, serve: Script) -> Deployer:
        return Deployer(serve, self.store, self.clock, timeout_s=60, pause=self._pause)

    def hear(self, progress: DeployProgress) -> None:
        self.heard.append(str(progress))

    async def _pause(self, seconds: float) -> None:
        self.clock.advance(seconds)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def serve_that(*before: str | ServeError, then: list[str | ServeError]) -> Script:
    serve = Script(*before)
    serve.after[1] = then
    return serve


async def test_a_first_start_waits_until_every_replica_runs(world: World) -> None:
    serve = serve_that("no-serve", then=["starting", "starting", "running"])
    deployed = await world.deployer(serve).deploy(GOOD, world.hear)
    assert deployed.changed
    assert deployed.elapsed_s == world.clock.now > 0
    assert serve.puts == [GOOD]
    assert world.heard == [
        "one 0/1 waiting, two 0/2 waiting",
        "one 0/1 deploying, two 0/2 deploying",
        "one 1/1 running, two 2/2 running",
    ]
    assert world.store.good() == GOOD


async def test_what_runs_already_is_not_sent_again(world: World) -> None:
    serve = Script("running")
    deployed = await world.deployer(serve).deploy(GOOD)
    assert not deployed.changed
    assert serve.puts == []
    assert world.store.good() == GOOD


async def test_a_replica_that_fails_ends_the_deployment_with_its_error(world: World) -> None:
    world.store.save_applied(GOOD)
    world.store.save_good(GOOD)
    serve = serve_that("running", then=["startup-failed"])
    with pytest.raises(DeploymentFailed, match="RuntimeError: the shop has no cities") as caught:
        await world.deployer(serve).deploy(BROKEN)
    assert [failure.application for failure in caught.value.failures] == ["one"]
    assert world.store.applied() == BROKEN
    assert world.store.good() == GOOD


async def test_a_failure_of_an_earlier_attempt_is_tried_again(world: World) -> None:
    serve = serve_that("startup-failed", then=["startup-failed"])
    with pytest.raises(DeploymentFailed):
        await world.deployer(serve).deploy(BROKEN)
    assert serve.puts == [BROKEN]


async def test_rollback_returns_to_the_last_set_that_ran(world: World) -> None:
    world.store.save_applied(GOOD)
    world.store.save_good(GOOD)
    world.store.save_applied(BROKEN)
    serve = serve_that("startup-failed", then=["rebuilding", "running"])
    assert (await world.deployer(serve).rollback()).changed
    assert serve.puts == [GOOD]
    with pytest.raises(NothingToRollBack):
        await world.deployer(serve).rollback()


async def test_a_dashboard_that_comes_late_is_waited_for(world: World) -> None:
    late = Refused("http://127.0.0.1:1", 503, "the GCS may be down")
    serve = serve_that(DOWN, late, "no-serve", then=[DOWN, "running"])
    serve.refusals = [Unreachable("http://127.0.0.1:1", "timed out")]
    assert (await world.deployer(serve).deploy(GOOD)).changed


async def test_a_set_that_serve_took_up_and_forgot_is_sent_again(world: World) -> None:
    serve = serve_that("no-serve", then=["no-serve"])
    serve.after[2] = ["running"]
    await world.deployer(serve).deploy(GOOD)
    assert serve.puts == [GOOD, GOOD]
    assert world.clock.now >= RESEND_S


async def test_a_refused_set_is_an_error_at_once(world: World) -> None:
    serve = Script("no-serve")
    serve.refusals = [Refused("http://127.0.0.1:1", 400, "max_ongoing_requests must be positive")]
    with pytest.raises(Refused, match="max_ongoing_requests"):
        await world.deployer(serve).deploy(GOOD)
    assert world.clock.now == 0


def _crowded() -> ApplicationSet:
    one, two = GOOD.applications
    (options,) = one.deployments
    many = replace(options.autoscaling_config, min_replicas=12, max_replicas=12)
    return replace(
        GOOD, applications=(replace(one, deployments=(replace(options, autoscaling_config=many),)), two)
    )


@pytest.mark.parametrize(
    ("given", "says", "expected"),
    [
        (GOOD, "starting", r"did not run the set within 60 s: one 0/1 deploying, two 0/2 deploying"),
        (_crowded(), "unschedulable", r"(?s)one \d+/12 deploying.*taken more than 30s to be scheduled"),
        (BROKEN, "running", r"runs other applications than it was given"),
        (GOOD, DOWN, r"does not answer"),
    ],
)
async def test_time_runs_out_with_what_was_waited_for(
    world: World, given: ApplicationSet, says: str | ServeError, expected: str
) -> None:
    with pytest.raises(ServeError, match=expected):
        await world.deployer(Script(says)).deploy(given)
    assert world.clock.now == pytest.approx(60, abs=1)
    assert world.store.good() is None


async def test_serve_cannot_move(world: World) -> None:
    moved = replace(GOOD, http_options=replace(GOOD.http_options, port=1234))
    serve = Script("running")
    with pytest.raises(
        DeploymentFailed, match=r"can't move to 127\.0\.0\.1:1234.*restart the region's Ray head"
    ):
        await world.deployer(serve).deploy(moved)
    assert serve.puts == []
