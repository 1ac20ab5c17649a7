"""Runs of three real regions that tests share. There is one at a time, and none beside tests that share none."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from tests.integration.live.regions import Run, checkout

REGIONS = {"us": "us-east", "ie": "eu-west", "jp": "ap-northeast"}
"""Of `local.toml`, by the place that each is nearest to."""

NAMESPACES = """
[namespaces.notes]
level = "session"
[namespaces.stock]
level = "strong"
"""

SCARCE = """
# A service with two replicas in each region, and few places: 16 requests at once a region.
[services.scarce]
route_prefix = "/scarce"
import_path = "atoll_services.quote.app:app"
timeout = "15s"

[services.scarce.replicas]
minimum = 2
maximum = 2
target_in_flight = 4
max_in_flight = 8
"""


@contextmanager
def _local(folder: Path) -> Iterator[Run]:
    """What `make up` starts. ``up.txt`` has what it printed, ``first.json`` who answered the very first requests."""
    with checkout(folder) as made:
        done = subprocess.run(
            ["make", "-o", ".venv/.installed", "up"],  # what is installed belongs to the checkout itself
            cwd=folder,
            env=made.environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + made.logs()
        first = {place: made.ask("/catalog/search?q=dub", place).headers["atoll-region"] for place in REGIONS}
        (folder / "first.json").write_text(json.dumps(first))
        (folder / "up.txt").write_text(done.stdout)
        yield made


@contextmanager
def _residency(folder: Path) -> Iterator[Run]:
    """`residency.toml` with some state and a service that is soon full."""
    with checkout(folder) as made:
        topology = folder / "infra" / "topologies" / "residency.toml"
        topology.write_text(topology.read_text() + NAMESPACES + SCARCE)
        made.must("up", "--detach", "--topology", str(topology.relative_to(folder)))
        yield made


_STARTS: dict[str, Callable[[Path], AbstractContextManager[Run]]] = {
    "local_run": _local,
    "residency_run": _residency,
}
"""Fixture -> what it starts, in the order of the tests that use them."""


class Runs:
    """Starts a run when it is first asked for, and ends the one before."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._name = ""
        self._run: Run | None = None
        self._end = contextlib.ExitStack()

    def of(self, name: str) -> Run:
        """That run, whole again whatever the test before did to it."""
        if self._run is None or self._name != name or not self._run.is_running():
            self.end()
            self._name, self._run = name, self._end.enter_context(_STARTS[name](self._folders.mktemp("run")))
        self._run.be_whole()
        return self._run

    def end(self) -> None:
        self._run = None
        self._end.close()


@pytest.fixture(scope="session")
def _runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    runs = Runs(tmp_path_factory)
    yield runs
    runs.end()


@pytest.fixture
def local_run(_runs: Runs) -> Run:
    """Virginia, Ireland and Tokyo, as a new user has them."""
    return _runs.of("local_run")


@pytest.fixture
def residency_run(_runs: Runs) -> Run:
    """Ireland (two gateways) and Frankfurt in the zone eu, Virginia in us; `quote-eu` belongs to eu."""
    return _runs.of("residency_run")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who shares no run comes first, then those of each run together."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    names: Sequence[str] = getattr(item, "fixturenames", ())
    return next((number for number, name in enumerate(_STARTS, 1) if name in names), 0)
