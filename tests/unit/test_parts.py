"""Parts of the tests are run one by one and told as one."""

import signal
from pathlib import Path

import pytest
from tests import parts

OK = "def test_one():\n    pass\n"
BAD = "import pytest\ndef test_two():\n    assert False\ndef test_skipped():\n    pytest.skip('for once')\n"


@pytest.fixture(autouse=True)
def _parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("good", OK), ("bad", BAD)):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"test_{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        parts, "PARTS", {name: ("-p", "no:cacheprovider", name) for name in ("good", "bad", "no")}
    )
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def last(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1].strip("= ")


def test_a_part_that_fails_keeps_the_next_from_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert parts.main(["bad", "good"], []) == pytest.ExitCode.TESTS_FAILED
    assert last(capsys).startswith("1 failed, 1 passed, 1 skipped in ")


def test_options_go_to_every_part_and_one_may_have_nothing_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert parts.main(["bad", "good"], ["-k", "one"]) == pytest.ExitCode.OK
    assert last(capsys).startswith("1 passed in ")
    assert parts.main(["bad", "good"], ["-k", "neither"]) == pytest.ExitCode.NO_TESTS_COLLECTED
    assert last(capsys).startswith("no tests ran in ")


def test_what_can_not_begin_ends_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert parts.main(["no", "good"], []) == pytest.ExitCode.USAGE_ERROR
    assert last(capsys).startswith("no tests ran in ")


@pytest.mark.parametrize(
    ("statuses", "told"), [((0, 5), 0), ((5, 5), 5), ((1, 0), 1), ((0, -9), -9), ((1, 2), 2)]
)
def test_the_status_of_the_whole(statuses: tuple[int, ...], told: int) -> None:
    assert parts.whole(statuses) == told
