"""What a drill sees of the run: how busy the machine is, samples, and what Atoll did between two of them."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from tests.unit.drill_statuses import REGION, RUN
from tests.unit.state_reports import state_report

from atoll.cell.status import (
    ProcessState,
    ProcessStatus,
    RegionState,
    RegionStatus,
    ReplicaCount,
    RunStatus,
)
from atoll.serve.ahead import AheadStatistics, Raise
from loadtests.drills.record import MarkKind
from loadtests.drills.watch import Watch, alerts, changes


def run_with(region: RegionStatus) -> RunStatus:
    return replace(RUN, regions={"eu-west": region})


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


def test_a_region_that_refuses_writes_is_an_alert() -> None:
    refusing = run_with(
        replace(REGION, state_report=replace(state_report(), writes_refused="its clock is off"))
    )
    well = run_with(replace(REGION, state_report=state_report()))
    assert list(alerts(well, refusing)) == ["eu-west refuses writes: its clock is off"]
    assert list(alerts(refusing, refusing)) == []
    assert list(alerts(refusing, well)) == ["eu-west takes writes again"]
    assert list(alerts(refusing, RUN)) == [], "nobody tells: that is no decision"
    assert Watch().look(refusing, 1.0, 0.0)[0].regions["eu-west"].refuses_writes
    assert not Watch().look(well, 1.0, 0.0)[0].regions["eu-west"].refuses_writes


def test_what_is_kept_ahead_of_load_to_come_is_a_decision() -> None:
    raised = Raise("quote", 4, frozenset({"us-east"}), 3.0, 20.0)
    ahead = run_with(replace(REGION, ahead=AheadStatistics((raised,), 1)))
    assert list(changes(RUN, ahead)) == ["eu-west keeps 4 of quote ahead of the load of us-east"]
    assert list(changes(ahead, ahead)) == []
