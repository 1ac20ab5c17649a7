from pathlib import Path

import pytest

from atoll.cell.paths import RunPaths
from atoll.cli import main
from atoll.cli.commands.logs import Tail, find
from atoll.cli.exits import CommandError, Exit


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    monkeypatch.chdir(tmp_path)
    paths = RunPaths.below(tmp_path)
    for name in ("supervisor", "eu-west/gateway-1", "eu-west/ray", "us-east/ray"):
        log = paths.logs / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"first of {name}\nlast of {name}\n")
    return paths


def test_finds_all_one_region_or_one_process(paths: RunPaths) -> None:
    assert list(find(paths, None)) == ["supervisor", "eu-west/gateway-1", "eu-west/ray", "us-east/ray"]
    assert list(find(paths, "eu-west")) == ["eu-west/gateway-1", "eu-west/ray"]
    assert list(find(paths, "us-east/ray")) == ["us-east/ray"]
    assert list(find(paths, "supervisor")) == ["supervisor"]
    with pytest.raises(CommandError, match="eu-west/gateway-1"):
        find(paths, "eu-north")


def test_one_file_is_printed_as_it_is(paths: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "us-east/ray", "--lines", "1"]) == Exit.SUCCESS
    assert capsys.readouterr().out == "last of us-east/ray\n"


def test_several_say_which_is_which(paths: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "eu-west", "-n", "1"]) == Exit.SUCCESS
    assert capsys.readouterr().out == (
        "eu-west/gateway-1 | last of eu-west/gateway-1\neu-west/ray | last of eu-west/ray\n"
    )


def test_without_logs_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["logs"]) == Exit.FAILED
    assert "atoll up" in capsys.readouterr().err


def test_tail_follows_growth_halves_truncation_and_replacement(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    tail = Tail(path)
    assert list(tail.last(5)) == []
    path.write_text("1\n2\n3\nha")
    assert list(tail.added()) == ["1", "2", "3"]
    with path.open("a") as file:
        file.write("lf\n5\n")
    assert list(tail.added()) == ["half", "5"]
    path.write_text("6\n")
    assert list(tail.added()) == ["6"]
    fresh = tmp_path / "fresh"
    fresh.write_text("7, of a longer file\n8\n")
    fresh.replace(path)
    assert list(tail.added()) == ["7, of a longer file", "8"]
    path.unlink()
    assert list(tail.added()) == []


@pytest.mark.parametrize("count", [0, 1, 3, 7_000, 20_000])
def test_last_lines_of_a_file_of_many_chunks(tmp_path: Path, count: int) -> None:
    lines = [f"line {number} {'x' * 20}" for number in range(10_000)]
    path = tmp_path / "long.log"
    path.write_text("\n".join(lines) + "\nhalf")
    tail = Tail(path)
    assert list(tail.last(count)) == (lines[-count:] if count else [])
    with path.open("a") as file:
        file.write(" a line\n")
    assert list(tail.added()) == ["half a line"]
