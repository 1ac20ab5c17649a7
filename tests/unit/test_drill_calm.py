"""A drill begins on a run that is whole and at rest; one of autoscaling with as few replicas as there can be."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.drill_records import drill
from tests.unit.drill_statuses import REGION, RUN

from atoll.cell.status import FaultStatus, ProcessState, ProcessStatus, RegionState, ReplicaCount, RunStatus
from atoll.topology import load
from loadtests.drills.calm import broken_on_purpose, counts_replicas, restless, scaled
from loadtests.drills.command import drills
from loadtests.drills.scenario import Expectation

TOPOLOGY = load(Path(__file__).parents[2] / "infra" / "topologies" / "local.toml")


def quotes(running: int, target: int) -> RunStatus:
    return replace(
        RUN, regions={"eu-west": replace(REGION, replicas={"quote": ReplicaCount(running, target)})}
    )


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (RUN, ""),
        (
            replace(RUN, regions={"eu-west": replace(REGION, state=RegionState.STARTING, detail="Ray")}),
            "eu-west is starting (Ray)",
        ),
        (
            replace(RUN, regions={"eu-west": replace(REGION, health={"entry": "unhealthy: silent"})}),
            "eu-west is not trusted by entry",
        ),
        (
            replace(RUN, processes=(ProcessStatus("links", 1, ProcessState.RESTARTING, 1, 0),)),
            "links is restarting",
        ),
        (quotes(0, 1), "eu-west runs 0 of quote, and wants 1"),
        (quotes(2, 1), "eu-west runs 2 of quote, and wants 1"),
    ],
)
def test_what_starts_stops_or_scales_is_waited_for(status: RunStatus, why: str) -> None:
    assert restless(status) == why
    assert not broken_on_purpose(status)


def test_what_somebody_has_broken_is_not_waited_for() -> None:
    killed = replace(RUN, faults=(FaultStatus("kill", "entry", ""),))
    assert broken_on_purpose(killed) == "in force: kill entry"
    drained = replace(RUN, regions={"eu-west": replace(REGION, draining=True)})
    assert broken_on_purpose(drained) == "draining: eu-west"


@pytest.mark.parametrize(
    ("running", "target", "calm"), [(1, 1, True), (2, 2, False), (2, 1, False), (1, 2, False)]
)
def test_at_rest_there_are_as_few_replicas_as_the_topology_says(
    running: int, target: int, *, calm: bool
) -> None:
    why = scaled(quotes(running, target), TOPOLOGY)
    assert (why == "") is calm
    if not calm:
        assert why == "eu-west still has 2 of quote from a load before, and 1 at rest"


def test_drills_that_judge_autoscaling_begin_at_rest() -> None:
    assert counts_replicas(drill(Expectation("autoscaling.turns", at_most=1)))
    assert not counts_replicas(drill())
    assert {name for name, one in drills().items() if counts_replicas(one)} == {"surge", "sawtooth"}
