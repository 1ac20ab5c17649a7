"""``atoll drill`` before anything is broken: what it offers, what it refuses, and its exit statuses."""

import json
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from tests.unit.drill_records import SETTING, drill, region_loss, report

from atoll.cli.exits import Exit
from atoll.cli.program import main
from atoll.topology import load
from loadtests.drills import command, whole_set
from loadtests.drills.command import Options, drills, find_drill, with_rate
from loadtests.drills.conductor import Course, End, Stage
from loadtests.drills.document import FOLDER
from loadtests.drills.figures import Figures, figures
from loadtests.drills.nearest import nearest
from loadtests.drills.record import Record
from loadtests.drills.rehearsal import Over, Rehearsal
from loadtests.drills.report import write
from loadtests.drills.scenario import Drill, Limits
from loadtests.drills.target import Remote, Waits
from loadtests.drills.verdict import Outcome
from loadtests.drills.whole_set import Held, outcome_of, worst


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder in which nothing runs."""
    monkeypatch.chdir(tmp_path)


def test_all_drills_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "--list"]) == 0
    listed = capsys.readouterr().out
    assert {"region-loss", "overload", "retry-storm", "flash-sale"} <= drills().keys()
    for name, one in drills().items():
        assert name in listed and one.title in listed


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
    async def fine(target: Remote, drill: Drill, waits: Waits) -> None: ...

    monkeypatch.setattr(Remote, "check", fine)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(Console, "input", lambda *_, **__: answer)
    assert main(["drill", "overload", "--entry", "http://127.0.0.1:9"]) == status
    assert message in capsys.readouterr().err


def test_who_is_asked_is_told_the_peak_of_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fine(target: Remote, drill: Drill, waits: Waits) -> None: ...

    asked: list[str] = []

    def no(_: Console, question: str, *, markup: bool) -> str:
        asked.append(question)
        assert not markup, "or [y/N] is not shown"
        return "n"

    monkeypatch.setattr(Remote, "check", fine)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(Console, "input", no)
    entry = ["--entry", "http://127.0.0.1:9"]
    main(["drill", "overload", *entry, "--rate", "2"])
    assert asked == ["overload: up to 21.5 visits a second on http://127.0.0.1:9. Begin? [y/N] "]
    assert main(["drill", "overload", *entry, "--without", "shedding"]) == 3
    assert len(asked) == 1, "what can't be done is not asked for"


def test_what_is_deployed_elsewhere_has_to_be_known(capsys: pytest.CaptureFixture[str]) -> None:
    text = (FOLDER / "overload.toml").read_text()
    Path("overload.toml").write_text(text.replace('topology = "local"', 'topology = "nowhere"'))
    assert main(["drill", "overload.toml", "--entry", "http://127.0.0.1:9", "--yes"]) == 2
    assert "nowhere.toml is not there" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("wrong", [["--rate", "0"], ["--rate", "fast"], ["--without", "gravity"]])
def test_wrong_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["drill", "region-loss", *wrong])
    assert end.value.code == 2


def test_a_report_of_another_kind_is_no_earlier_one(capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.json").write_text(json.dumps({"schema": "atoll.status/1"}))
    assert main(["drill", "region-loss", "--against", "other.json"]) == 2
    assert "no report of a drill" in capsys.readouterr().err


def test_a_report_of_another_drill_is_refused_before_anything_begins(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(report(), Path("old.json"))
    assert main(["drill", "surge", "--against", "old.json"]) == 2
    assert "different drills: 'region-loss' and 'surge'" in capsys.readouterr().err


def test_another_rate_keeps_the_shape() -> None:
    surge = find_drill("surge")
    shape = surge.load.shape
    assert shape.peak is not None
    changed = with_rate(surge, shape.rate / 2).load.shape
    assert (changed.rate, changed.peak) == (shape.rate / 2, shape.peak / 2)
    assert with_rate(surge, None) == surge


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


@pytest.mark.parametrize(
    ("outcome", "verdict", "status"),
    [
        (Outcome.FAILED, "caught", Exit.SUCCESS),
        (Outcome.PASSED, "not noticed", Exit.FAILED_VERDICT),
        (Outcome.INCONCLUSIVE, "inconclusive", Exit.INCONCLUSIVE),
        (None, "not held", Exit.FAILED),
    ],
)
def test_a_control_is_as_it_should_be_if_it_is_red(
    outcome: Outcome | None, verdict: str, status: Exit
) -> None:
    control = Held("region-loss", outcome, "", 1.0, without="failover")
    assert (control.verdict, worst([control])) == (verdict, status)


def test_a_control_whose_error_budget_was_spent_is_red_too() -> None:
    spent = drill(limits=Limits(failed=20))
    without = report(of=spent, setting=replace(SETTING, without="failover"))
    assert without.verdict.outcome is Outcome.ABORTED
    assert outcome_of(without) is Outcome.FAILED
    assert outcome_of(report(of=spent)) is Outcome.ABORTED


def test_controls_hold_each_drill_without_what_it_proves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, str, Path]] = []

    async def one(of: Drill, options: Options, paths: object) -> Held:
        asked.append((of.name, options.without, options.out))
        return Held(of.name, Outcome.FAILED, "", 1.0, options.without)

    monkeypatch.setattr(whole_set, "_one", one)
    monkeypatch.setattr(whole_set, "_run_of", lambda *_: nullcontext())
    monkeypatch.setattr(whole_set, "drill_lock", lambda *_: nullcontext())
    assert (
        whole_set.hold_all(["surge", "overload", "failing-service"], Options(out=tmp_path), controls=True)
        is Exit.SUCCESS
    )
    assert asked == [
        (name, what, tmp_path / "controls")
        for name, what in (("overload", "shedding"), ("failing-service", "budget"))
    ]
    asked.clear()
    assert whole_set.hold_all(["overload"], Options(out=tmp_path)) is Exit.FAILED_VERDICT
    assert asked == [("overload", "", tmp_path)]


async def test_the_figures_know_where_users_are_at_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else it is guessed from who served them lately, and DNS users of a lost region count as elsewhere."""
    record = region_loss()
    seen: dict[str, Mapping[str, str] | None] = {}
    topology = Path(__file__).parents[2] / "infra" / "topologies" / "local.toml"

    async def run(rehearsal: Rehearsal) -> Over:
        seen["conductor"] = rehearsal._homes
        course = Course(Stage.OVER, 0.0, 0.0, 1, 0, 0, End.COMPLETE, "")
        return Over(record, course)

    def counted(of: Record, drill: Drill, homes: Mapping[str, str] | None = None) -> Figures:
        seen["figures"] = homes
        return figures(of, drill, homes)

    monkeypatch.setattr(Rehearsal, "run", run)
    monkeypatch.setattr(command, "figures", counted)
    target = Remote("http://127.0.0.1:9")
    target.topology_file = topology
    assert await command.hold(drill(), Options(out=tmp_path), target) is not None
    assert seen["figures"] == seen["conductor"] == nearest(load(topology))
