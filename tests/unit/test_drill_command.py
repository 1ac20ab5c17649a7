"""``atoll drill`` before anything is broken: what it offers, what it refuses, and its exit statuses."""

import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from atoll.cli.exits import Exit
from atoll.cli.program import main
from loadtests.drills.command import drills, find_drill, with_rate
from loadtests.drills.scenario import Drill
from loadtests.drills.target import Remote
from loadtests.drills.verdict import Outcome
from loadtests.drills.whole_set import Held, worst


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder in which nothing runs."""
    monkeypatch.chdir(tmp_path)


def test_all_drills_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "--list"]) == 0
    listed = capsys.readouterr().out
    assert {"region-loss", "overload", "retry-storm", "flash-sale"} <= drills().keys()
    for name, drill in drills().items():
        assert name in listed and drill.title in listed


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "--list"),
        (["no-such"], 2, "there is no drill 'no-such'; there are: "),
        (["missing.toml"], 2, "give the path of a TOML file"),
        (["region-loss"], 3, "start it with `atoll up`"),
        (["region-loss", "--against", "old.json"], 2, "old.json"),
        (["region-loss", "--entry", "http://127.0.0.1:9", "--yes"], 3, "can't be healed from here"),
    ],
)
def test_what_can_not_be_done_is_told_and_nothing_is_done(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drill", *arguments]) == status
    assert message in capsys.readouterr().err
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("terminal", "answer", "status", "message"),
    [(False, "", 2, "add --yes"), (True, "n", 4, "nothing was done"), (True, "", 4, "nothing was done")],
)
def test_load_on_a_deployment_elsewhere_is_asked_for_first(
    terminal: bool,
    answer: str,
    status: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def fine(target: Remote, drill: Drill) -> None: ...

    monkeypatch.setattr(Remote, "check", fine)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(Console, "input", lambda *_: answer)
    assert main(["drill", "overload", "--entry", "http://127.0.0.1:9"]) == status
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--rate", "0"], ["--rate", "fast"], ["--without", "gravity"]])
def test_wrong_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["drill", "region-loss", *wrong])
    assert end.value.code == 2


def test_a_report_of_another_kind_is_no_earlier_one(capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.json").write_text(json.dumps({"schema": "atoll.status/1"}))
    assert main(["drill", "region-loss", "--against", "other.json"]) == 2
    assert "no report of a drill" in capsys.readouterr().err


def test_another_rate_keeps_the_shape() -> None:
    drill = find_drill("surge")
    shape = drill.load.shape
    assert shape.peak is not None
    changed = with_rate(drill, shape.rate / 2).load.shape
    assert (changed.rate, changed.peak) == (shape.rate / 2, shape.peak / 2)
    assert with_rate(drill, None) == drill


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([Outcome.PASSED, Outcome.PASSED], Exit.SUCCESS),
        ([Outcome.PASSED, Outcome.ABORTED], Exit.INCONCLUSIVE),
        ([Outcome.INCONCLUSIVE, Outcome.FAILED, None], Exit.FAILED_VERDICT),
        ([Outcome.PASSED, None], Exit.FAILED),
        ([], Exit.SUCCESS),
    ],
)
def test_the_set_is_as_good_as_its_worst(outcomes: list[Outcome | None], status: Exit) -> None:
    assert (
        worst(Held(f"drill-{number}", outcome, "", 1.0) for number, outcome in enumerate(outcomes)) is status
    )
