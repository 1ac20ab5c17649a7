"""What may go wrong with `atoll up`, and what it leaves."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from os import kill

import pytest
from tests.integration.live.regions import Run, checkout

from atoll.cell.client import NotRunning

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Where nothing runs yet."""
    with checkout(tmp_path_factory.mktemp("up")) as made:
        yield made


def test_a_taken_port_is_named(run: Run) -> None:
    with socket.socket() as taken:
        # As what really takes a port: ended connections of an earlier test (TIME_WAIT) keep no listener away.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", run.base))
        taken.listen()
        done = run.atoll("up", "--detach")
    assert done.returncode == 3
    assert str(run.base) in done.stderr
    assert "ATOLL_PORT_BASE" in done.stderr
    assert not run.marked()


def test_a_half_written_topology_starts_nothing(run: Run) -> None:
    half = run.folder / "half.toml"
    text = (run.folder / "infra" / "topologies" / "local.toml").read_text()
    half.write_text(text[: len(text) // 2])
    done = run.atoll("up", "--detach", "--topology", str(half))
    assert done.returncode == 2
    assert "half.toml" in done.stderr
    assert not run.marked()


def test_kill_9_of_the_supervisor_in_between_and_ctrl_c_at_the_end(run: Run) -> None:
    """The next `up` reaps what was left; a process of somebody else's, marked by another run, is not touched."""
    bystander = subprocess.Popen(["sleep", "600"], env={**run.environment, "ATOLL_RUN": "somebody-elses/run"})
    try:
        first = _up_in_front(run)
        run.until(lambda: any("gcs_server" in line for line in run.marked()), 120, "Ray is starting")
        kill(
            json.loads((run.folder / ".atoll" / "run.json").read_text())["supervisor"]["pid"], signal.SIGKILL
        )
        first.communicate(timeout=60)
        assert first.returncode == 3
        second = _up_in_front(run)
        run.until(lambda: _ready(run), 120, "one region is up")
        second.send_signal(signal.SIGINT)
        output, _ = second.communicate(timeout=60)
        assert second.returncode == 130, output
        run.until(lambda: not run.marked(), 120, f"nothing is left: {run.marked()}")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def _up_in_front(run: Run) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["atoll", "up", "--regions", "1"],
        cwd=run.folder,
        env=run.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _ready(run: Run) -> bool:
    try:
        regions = run.status()["regions"].values()
    except NotRunning:
        return False
    return all(region["state"] == "ready" for region in regions)
