"""The command as people use it, on three live regions: a verdict that can be relied on, and nothing left broken."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.integration.regions import Run

from loadtests.drills.document import FOLDER

pytestmark = pytest.mark.timeout(300)

SHORT_S = 200.0


@pytest.fixture
def run(local_run: Run) -> Run:
    """Whole again, whatever the test before did to it."""

    def whole() -> bool:
        status = local_run.status()
        return not status["faults"] and all(
            region["state"] == "ready" and all(seen == "healthy" for seen in region["health"].values())
            for region in status["regions"].values()
        )

    local_run.must("fault", "heal")
    local_run.until(whole, 120, "all regions ready and trusted by all")
    return local_run


def report(run: Run, drill: str) -> Any:
    return json.loads((run.folder / "build" / "drills" / f"{drill}.json").read_text())


def explained(run: Run, drill: str, done: "subprocess.CompletedProcess[str]") -> str:
    users = run.folder / "build" / "drills" / drill / "users.log"
    said = users.read_text(errors="replace")[-2000:] if users.exists() else ""
    return f"{done.stdout}{done.stderr}{said}"


def test_the_loss_of_a_region_passes(run: Run) -> None:
    done = run.atoll("drill", "region-loss", "--short", within_s=SHORT_S)
    if done.returncode == 4 and "too busy" in done.stderr + done.stdout:
        pytest.skip(f"the machine was too busy to say anything: {done.stderr[-600:]}")
    assert done.returncode == 0, explained(run, "region-loss", done)
    document = report(run, "region-loss")
    assert document["verdict"]["outcome"] == "passed"
    assert document["figures"]["during.entry.errors.replayable"] == 0
    assert "<html" in (run.folder / "build" / "drills" / "region-loss.html").read_text()
    assert run.status()["faults"] == []


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


def test_without_failover_the_same_drill_is_red(run: Run) -> None:
    """The recovery is cut short: it is not what this is about."""
    scenario = run.folder / "region-loss.toml"
    text = (FOLDER / "region-loss.toml").read_text()
    scenario.write_text(re.sub(r'(?s)(\[short\].*recovery = )"\d+s"', r'\1"5s"', text))
    done = run.atoll("drill", str(scenario), "--short", "--without", "failover", within_s=SHORT_S)
    if done.returncode == 4 and "too busy" in done.stderr + done.stdout:
        pytest.skip("the machine was too busy to say anything")
    assert done.returncode == 1, explained(run, "region-loss", done)
    failed = [one for one in report(run, "region-loss")["verdict"]["expectations"] if one["held"] is False]
    assert "during.entry.errors.replayable" in {one["figure"] for one in failed}
    assert run.status()["faults"] == [], "failover is on again"
