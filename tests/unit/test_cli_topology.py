from pathlib import Path

import pytest

from atoll.cli import main, topology_file
from atoll.cli.exits import CommandError, Exit

TOPOLOGIES = Path(__file__).parents[2] / "infra" / "topologies"


@pytest.mark.parametrize("path", sorted(TOPOLOGIES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_files_that_are_shipped_are_sound(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topology", "check", str(path)]) == Exit.SUCCESS
    assert "is sound" in capsys.readouterr().out


def test_a_bad_file_ends_with_2_and_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.toml"
    text = (TOPOLOGIES / "local.toml").read_text()
    path.write_text(text.replace("latitude = 38.95", "latitude = 138.95").replace("title =", "titel =", 1))
    assert main(["topology", "check", str(path)]) == Exit.USAGE
    output = capsys.readouterr()
    assert output.out == ""
    assert "latitude" in output.err
    assert "titel" in output.err


def test_half_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "half.toml"
    text = (TOPOLOGIES / "local.toml").read_text()
    path.write_text(text[: len(text) // 2])
    assert main(["up", "--topology", str(path)]) == Exit.USAGE
    assert str(path) in capsys.readouterr().err
    assert not (tmp_path / ".atoll").exists()


def test_no_such_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topology", "check", str(tmp_path / "none.toml")]) == Exit.USAGE
    assert "none.toml" in capsys.readouterr().err


def test_outside_a_checkout_the_default_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["up"]) == Exit.USAGE
    assert "--topology" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_more_regions_than_there_are() -> None:
    with pytest.raises(CommandError, match="has 3 regions") as refused:
        topology_file.read(TOPOLOGIES / "local.toml", regions=4)
    assert refused.value.status is Exit.USAGE
    assert len(topology_file.read(TOPOLOGIES / "local.toml", regions=2).regions) == 2
