"""The state's drill in small: real processes, a kill and a cut, and every promise is kept."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.state.__main__ import document
from loadtests.state.drill import PROMISES, REMOTE, Settings, drill
from loadtests.state.faults import Fault, FaultKind
from loadtests.state.verdict import decide

pytestmark = pytest.mark.timeout(240)

FAULTS = (
    Fault(FaultKind.KILL_STORE, "eu-west", "us-east", 0.3, 0.5),
    Fault(FaultKind.CUT_REGION, "us-east", "eu-west", 1.0, 0.1),
)


async def test_nothing_is_lost_under_a_kill_and_a_cut() -> None:
    with tempfile.TemporaryDirectory(prefix="atoll-") as folder:  # short: sockets have their place below it
        result = await drill(Path(folder), Settings(60, 1, 90.0, clients=2, faults=FAULTS, wipe=False))
    found = document(result)
    assert found["verdict"] == "passed", found
    assert all(result.ledger.acked(namespace) >= 60 for namespace in PROMISES.values())
    assert result.faults.done == {FaultKind.KILL_STORE: 1, FaultKind.CUT_REGION: 1}
    assert result.verdict.registers and result.ledger.checks

    # Control: the same run would have failed, had one region lost one write of those that it has.
    region, values = next(iter(result.final.found.items()))
    for place in list(values)[:20]:
        lacking = {at: value for at, value in values.items() if at != place}
        final = replace(result.final, found={**result.final.found, region: lacking})
        if values[place]:
            assert not decide(result.ledger, final, REMOTE).passed, place


async def test_control_agents_that_pass_over_operations_fail_the_drill() -> None:
    agent = "tests.integration.forgetful_agent"
    settings = Settings(20, 1, 60.0, clients=1, faults=(), wipe=False, equal_within_s=1.0, agent=agent)
    with tempfile.TemporaryDirectory(prefix="atoll-") as folder:
        result = await drill(Path(folder), settings)
    assert document(result)["verdict"] == "failed"
    promises = {finding.promise for finding in result.verdict.findings}
    assert "no acknowledged write is lost" in promises
    assert any(promise.startswith("all replicas are equal") for promise in promises)
