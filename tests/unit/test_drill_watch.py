"""What a drill sees of the run: how busy the machine is, samples, and what Atoll did between two of them."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from tests.unit.drill_statuses import REGION, RUN

from atoll.cell.status import (
    FaultStatus,
    ProcessState,
    ProcessStatus,
    RegionState,
    RegionStatus,
    ReplicaCount,
    RunStatus,
)
from loadtests.drills.record import MarkKind
from loadtests.drills.target import obstacle
from loadtests.drills.watch import Ticks, Watch, alerts, changes, read_ticks


def run_with(region: RegionStatus) -> RunStatus:
    return replace(RUN, regions={"eu-west": region})


def test_busy_is_all_time_but_idle_and_waiting_for_a_disk() -> None:
    first = read_ticks("cpu  100 0 50 800 50 0 0 0 70 0\ncpu0 1 2 3\n")
    second = read_ticks("cpu  180 0 70 850 50 0 0 0 90 0\ncpu0 1 2 3\n")
    assert (first, second) == (Ticks(150, 1000), Ticks(250, 1150))
    assert second.busy_since(first) == pytest.approx(100 / 150), "guests' time is in user time already"
    assert first.busy_since(first) == 0.0


def test_the_machine_itself_is_read() -> None:
    watch = Watch()
    assert watch.busy() == 0.0
    assert 0.0 <= watch.busy() <= 1.0


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (
            {"us-east/gateway-1": "unhealthy: silent", "entry": "unhealthy: refused"},
            "eu-west is distrusted by all gateways",
        ),
        ({"us-east/gateway-1": "healthy", "entry": "unhealthy: refused"}, "eu-west is distrusted by entry"),
    ],
)
def test_trust_that_is_lost_and_given_back_is_told(health: Mapping[str, str], words: str) -> None:
    doubted = run_with(replace(REGION, health=health))
    assert list(changes(RUN, doubted)) == [words]
    assert list(changes(doubted, RUN)) == [words.replace("distrusted by", "trusted again by")]


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (
            replace(REGION, replicas={"quote": ReplicaCount(1, 3)}),
            "eu-west wants 3 of quote instead of 1",
        ),
        (replace(REGION, replicas={"quote": ReplicaCount(2, 1)}), "eu-west runs 2 of quote instead of 1"),
        (replace(REGION, draining=True), "eu-west is draining"),
        (
            replace(REGION, processes=(ProcessStatus("gateway-1", 2, ProcessState.STARTING, 1, 0),)),
            "eu-west/gateway-1 ended and is started again",
        ),
    ],
)
def test_what_atoll_does_is_told(region: RegionStatus, words: str) -> None:
    assert list(changes(RUN, run_with(region))) == [words]


def test_a_region_that_does_not_answer_has_decided_nothing() -> None:
    silent = run_with(replace(REGION, state=RegionState.KILLED, replicas={}, processes=()))
    assert list(changes(RUN, silent)) == []
    assert list(changes(silent, RUN)) == []


@pytest.mark.parametrize(
    ("state", "detail", "words"),
    [
        (RegionState.KILLED, "killed by a fault", "eu-west is killed"),
        (RegionState.DEGRADED, "ray-dashboard killed", "eu-west is degraded: ray-dashboard killed"),
    ],
)
def test_a_region_that_is_not_as_it_should_be_is_an_alert(
    state: RegionState, detail: str, words: str
) -> None:
    bad = run_with(replace(REGION, state=state, detail=detail))
    assert list(alerts(RUN, bad)) == [words]
    assert list(alerts(bad, bad)) == []
    assert list(alerts(bad, RUN)) == ["eu-west is ready again"]


def test_a_drain_is_no_alert() -> None:
    draining = run_with(replace(REGION, state=RegionState.DRAINING, draining=True))
    assert [*alerts(RUN, draining), *alerts(draining, RUN)] == []


def test_nothing_is_told_of_what_stays() -> None:
    watch = Watch()
    sample, marks = watch.look(RUN, 5.0, 0.3)
    assert not marks
    assert (sample.at_s, sample.busy) == (5.0, 0.3)
    assert sample.regions["eu-west"].healthy_for == 1.0
    assert sample.regions["eu-west"].targets == {"quote": 1}
    assert watch.look(RUN, 6.0, 0.3)[1] == ()


def test_what_changed_while_nobody_told_is_told_then() -> None:
    watch = Watch()
    watch.look(RUN, 1.0, 0.0)
    missed, none = watch.look(None, 2.0, 0.5)
    assert missed.regions == {} and none == ()
    _, marks = watch.look(run_with(replace(REGION, draining=True)), 3.0, 0.0)
    assert [(mark.at_s, mark.kind, mark.text) for mark in marks] == [
        (3.0, MarkKind.DECISION, "eu-west is draining")
    ]


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (RUN, ""),
        (replace(RUN, faults=(FaultStatus("kill", "entry", ""),)), "in force: kill entry"),
        (run_with(replace(REGION, state=RegionState.STARTING, detail="Ray")), "eu-west is starting (Ray)"),
        (
            run_with(replace(REGION, health={"entry": "unhealthy: silent"})),
            "eu-west is not trusted by entry",
        ),
        (
            run_with(replace(REGION, replicas={"quote": ReplicaCount(0, 1)})),
            "eu-west lacks replicas of quote",
        ),
    ],
)
def test_a_drill_begins_on_what_is_whole(status: RunStatus, why: str) -> None:
    assert obstacle(status) == why
