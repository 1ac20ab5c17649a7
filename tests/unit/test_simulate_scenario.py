"""Scenario files: what is shipped is sound, and what is wrong is told with its place and what would be right."""

import json
from pathlib import Path

import jsonschema
import pytest

from atoll.cli import main
from atoll.cli.documents import schema_file
from atoll.cli.exits import Exit
from atoll.simulate.document import ScenarioError, read_scenario
from atoll.simulate.scenario import FaultKind, Load, Shape

ROOT = Path(__file__).parents[2]
SCENARIOS = ROOT / "infra" / "scenarios"
LOSS = (SCENARIOS / "region-loss.toml").read_text(encoding="utf-8")


def write(folder: Path, text: str) -> Path:
    path = folder / "scenario.toml"
    path.write_text(text.replace("../topologies", str(ROOT / "infra/topologies")), encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_files_that_are_shipped_are_sound(path: Path) -> None:
    scenario = read_scenario(path)
    assert scenario.name == path.stem
    assert scenario.phases[0][1] == 0.0
    assert scenario.phases[-1][2] == scenario.duration_s


def test_the_readme_names_every_file_fault_and_key() -> None:
    text = (SCENARIOS / "README.md").read_text(encoding="utf-8")
    for path in SCENARIOS.glob("*.toml"):
        assert f"`{path.name}`" in text
    for kind in FaultKind:
        assert f"`{kind.value}`" in text
    for shape in Shape:
        assert f"`{shape.value}`" in text


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('target = "eu-west"', 'target = "eu-wst"', "did you mean 'eu-west'?"),
        ('kind = "region-loss"', 'kind = "region-lost"', "faults.0.kind"),
        ('kind = "region-loss"', 'kind = "slow-region"', "faults.0.factor is missing: slow-region needs it"),
        ('kind = "region-loss"', 'kind = "region-loss"\nfactor = 2.0', "faults.0.factor"),
        ('kind = "region-loss"', 'kind = "region-loss"\none_way = true', "hits none"),
        ('kind = "region-loss"', 'kind = "frozen-replica"', "eu-west/replica-1 up to replica-2"),
        ('kind = "region-loss"', 'kind = "gateway-loss"', "eu-west/gateway-1 up to gateway-1"),
        ('at = "15s"', 'at = "70s"', "must be before the end"),
        ('at = "15s"', 'at = "soon"', "such as '250ms'"),
        ('rate = "40/s"', 'rate = "40"', "such as '50/s'"),
        ('rate = "40/s"', 'rate = "40/s"\nshape = "spike"', "load.0.peak is missing: spike needs it"),
        ('rate = "40/s"', 'rate = "40/s"\npeak = "50/s"', "steady takes no such key"),
        ('country = "IE"', 'country = "XX"', "ISO 3166-1"),
        ('service = "quote"', 'service = "quot"', "did you mean 'quote'?"),
        ("busy = 16", "busy = 64", "at most in_flight, which is 32"),
        ("[work.quote]", "[work.catalog]", "work.quote is missing"),
        ("local.toml", "locl.toml", "write it relative to this file"),
        ("[expect]", "[expct]", "did you mean 'expect'?"),
        ("atoll.scenario/1", "atoll.scenario/2", "schema"),
        ("[expect]", "[expect]\nshares = { eu-wst = [0.1, 0.9] }", "did you mean 'eu-west'?"),
        ("post = 0.0, keyed", "post = 0.9, keyed = 0.2 } #", "at most 1 together"),
    ],
)
def test_what_is_wrong_is_told(old: str, new: str, told: str, tmp_path: Path) -> None:
    assert old in LOSS
    with pytest.raises(ScenarioError) as refused:
        read_scenario(write(tmp_path, LOSS.replace(old, new, 1)))
    assert told in str(refused.value)


def test_half_a_file_and_no_file_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(write(tmp_path, LOSS[: len(LOSS) // 3]))]) == Exit.USAGE
    assert main(["simulate", str(tmp_path / "none.toml")]) == Exit.USAGE
    output = capsys.readouterr()
    assert output.out == ""
    assert "nothing was run" in output.err


def test_rates_follow_their_shapes() -> None:
    def at(shape: Shape, *moments: float) -> list[float]:
        load = Load("quote", "IE", rate=10.0, shape=shape, peak=30.0, at_s=4.0, for_s=4.0, period_s=8.0)
        return [round(load.rate_at(moment), 6) for moment in moments]

    assert at(Shape.STEADY, 0, 5, 9) == [10, 10, 10]
    assert at(Shape.RAMP, 0, 4, 6, 8, 20) == [10, 10, 20, 30, 30]
    assert at(Shape.STEP, 3.9, 4, 20) == [10, 30, 30]
    assert at(Shape.SPIKE, 3.9, 4, 8) == [10, 30, 10]
    assert at(Shape.SINE, 0, 2, 4, 8) == [10, 20, 30, 10]
    assert at(Shape.SAWTOOTH, 0, 4, 7.999999, 8) == [10, 20, pytest.approx(30, abs=0.001), 10]


class TestCommand:
    """`atoll simulate`."""

    def test_a_scenario_as_a_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["simulate", str(SCENARIOS / "frozen-replica.toml")]) == Exit.SUCCESS
        text = capsys.readouterr().out
        for word in ("us-east", "frozen-replica us-east/replica-2", "p99", "Answers by region", "passed"):
            assert word in text

    def test_as_one_document_and_as_a_picture(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        picture = tmp_path / "traffic.svg"
        words = ["simulate", str(SCENARIOS / "frozen-replica.toml"), "--json", "--plot", str(picture)]
        assert main(words) == Exit.SUCCESS
        document = json.loads(capsys.readouterr().out)
        jsonschema.validate(document, json.loads(schema_file("atoll.simulation/1").read_text()))
        assert document["schema"] == "atoll.simulation/1"
        assert document["passed"] is True
        answers = sum(sum(counts) for counts in document["traffic"].values())
        assert answers == document["answered"] == document["requests"]
        text = picture.read_text(encoding="utf-8")
        assert text.startswith("<svg")
        assert "us-east" in text
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")

    def test_what_is_not_as_expected_is_a_failed_verdict(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = (SCENARIOS / "frozen-replica.toml").read_text(encoding="utf-8")
        path = write(tmp_path, text.replace("amplification = 1.2", 'amplification = 1.2\np99 = "1ms"'))
        assert main(["simulate", str(path)]) == Exit.FAILED_VERDICT
        assert "NOT HELD: p99_s" in capsys.readouterr().out

    def test_seeds_as_a_document(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(ROOT)
        assert main(["simulate", "--seeds", "3", "--processes", "1", "--json"]) == Exit.SUCCESS
        document = json.loads(capsys.readouterr().out)
        jsonschema.validate(document, json.loads(schema_file("atoll.simulations/1").read_text()))
        assert document["seeds"] == 3

    @pytest.mark.parametrize(
        "words",
        [
            (),
            ("--seeds", "3", "--seed", "2"),
            ("--seeds", "3", "scenario.toml"),
            ("--seeds", "3", "--plot", "a.svg"),
        ],
    )
    def test_wrong_usage(self, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["simulate", *words]) == Exit.USAGE
        assert capsys.readouterr().out == ""

    def test_seeds_outside_a_checkout(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(["simulate", "--seeds", "3"]) == Exit.USAGE
        assert "start in the folder of the checkout" in capsys.readouterr().err
