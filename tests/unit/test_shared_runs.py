"""Tests that share a run of real regions: one run at a time, and nobody beside it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pytest
from tests.integration.live import runs

ROOT = Path(__file__).parents[2]


def collected(*paths: str) -> list[str]:
    """Files in the order in which their tests would run."""
    command = (sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *paths)
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = (line.partition("::")[0].rpartition("/")[2] for line in listed.splitlines() if "::" in line)
    return [file for file, _ in groupby(files)]


def test_who_shares_a_run_comes_together_and_after_all_others() -> None:
    live = collected("tests/drills", "tests/integration/live", "tests/integration/test_gateway_regions.py")
    assert len(live) == len(set(live))
    first, local = live.index("test_drills.py"), {"test_drills.py", "test_up.py"}
    assert set(live[first : first + 2]) == local
    assert set(live[first + 2 :]) == {"test_region_loss.py", "test_regions_under_load.py", "test_up_again.py"}
    assert "test_gateway_regions.py" in live[:first]


class Stub:
    """A run that is said to run as long as nobody ends it."""

    def __init__(self) -> None:
        self.runs = True

    def is_running(self) -> bool:
        return self.runs

    def be_whole(self) -> None:
        assert self.runs


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []

    def start(name: str) -> object:
        @contextmanager
        def started(folder: Path) -> Iterator[Stub]:
            seen.append(f"{name} begins")
            yield Stub()
            seen.append(f"{name} ends")

        return started

    monkeypatch.setattr(runs, "_STARTS", {name: start(name) for name in ("one", "other")})
    return seen


def test_a_run_is_shared_until_another_one_is_asked_for(
    events: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    shared = runs.Runs(tmp_path_factory)
    assert shared.of("one") is shared.of("one")
    shared.of("other")
    shared.end()
    assert events == ["one begins", "one ends", "other begins", "other ends"]


def test_a_run_that_a_test_has_ended_is_started_anew(
    events: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    shared = runs.Runs(tmp_path_factory)
    ended = shared.of("one")
    ended.runs = False  # type: ignore[attr-defined]
    assert shared.of("one") is not ended
    assert events == ["one begins", "one ends", "one begins"]
    shared.end()
