"""The command as people use it, on three live regions: a verdict that can be relied on, and nothing left broken."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.integration.live.regions import Run

from loadtests.drills.document import FOLDER

pytestmark = pytest.mark.timeout(700)

SHORT_S = 400.0


@pytest.fixture
def run(local_run: Run) -> Run:
    return local_run


def report(run: Run, drill: str) -> Any:
    return json.loads((run.folder / "build" / "drills" / f"{drill}.json").read_text())


def explained(run: Run, drill: str, done: "subprocess.CompletedProcess[str]") -> str:
    users = run.folder / "build" / "drills" / drill / "users.log"
    said = users.read_text(errors="replace")[-2000:] if users.exists() else ""
    return f"{done.stdout}{done.stderr}{said}"


def held(run: Run, done: "subprocess.CompletedProcess[str]") -> dict[str, bool | None]:
    """Figure -> whether its expectation held. What the machine has to do with is left to the verdict: it may have other
    things to do, and tests are no benchmarks.
    """
    verdict = report(run, "region-loss")["verdict"]
    statuses = {"passed": 0, "failed": 1, "inconclusive": 4, "aborted": 4}
    assert done.returncode == statuses[verdict["outcome"]], explained(run, "region-loss", done)
    return {one["figure"]: one["held"] for one in verdict["expectations"]}


def test_who_comes_through_the_entry_does_not_notice_the_loss_of_a_region(run: Run) -> None:
    (line,) = (line for line in run.readme() if " drill " in line)
    _, *words = shlex.split(line)
    assert words == ["drill", "region-loss", "--short"]
    done = run.atoll(*words, within_s=SHORT_S)
    kept = held(run, done)
    for figure in (
        "before.share.eu-west",
        "during.share.eu-west",
        "during.entry.errors.replayable",
        "after.entry.errors.replayable",
        "amplification.over_budget",
        "failed_elsewhere",
    ):
        assert kept[figure], f"{figure}: {explained(run, 'region-loss', done)}"
    assert "<html" in (run.folder / "build" / "drills" / "region-loss.html").read_text()
    assert run.status()["faults"] == []


def test_without_failover_the_same_drill_is_red(run: Run) -> None:
    """The recovery is cut short: it is not what this is about."""
    scenario = run.folder / "region-loss.toml"
    text = (FOLDER / "region-loss.toml").read_text()
    scenario.write_text(re.sub(r'(?s)(\[short\].*recovery = )"\d+s"', r'\1"5s"', text))
    done = run.atoll("drill", str(scenario), "--short", "--without", "failover", within_s=SHORT_S)
    assert held(run, done)["during.entry.errors.replayable"] is False, explained(run, "region-loss", done)
    assert run.status()["faults"] == [], "failover is on again"


def test_ctrl_c_heals_what_the_drill_broke(run: Run) -> None:
    said = Path(run.folder / "drill.log")
    with said.open("w") as output:
        drill = subprocess.Popen(
            [sys.executable, "-m", "atoll.cli", "drill", "partition", "--short", "--without", "budget"],
            cwd=run.folder,
            env=run.environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        run.until(
            lambda: len(run.status()["faults"]) == 2, 90, f"the drill has broken it: {said.read_text()}"
        )
        again = run.atoll("drill", "region-loss")
        assert again.returncode == 3 and "another drill" in again.stderr
        drill.send_signal(signal.SIGINT)
        assert drill.wait(60) == 130, said.read_text()
    finally:
        drill.kill()
        drill.wait()
    assert run.status()["faults"] == []
    time.sleep(1)
    assert not [line for line in run.marked() if "locust" in line], "its users are gone"
