"""Drills' files: what is read, what is refused and in which words; and the files that are there."""

import re
import tomllib
from pathlib import Path

import pytest

from atoll.topology import load as load_topology
from loadtests.drills.document import FOLDER, DrillDocument, DrillError, parse_drill, read_drill
from loadtests.drills.figures.table import markdown
from loadtests.drills.record import Way
from loadtests.drills.scenario import (
    Drill,
    Durations,
    Expectation,
    Fault,
    FaultKind,
    Limits,
    Load,
    Shape,
    ShapeKind,
)
from loadtests.drills.schedule import scheduled

ROOT = FOLDER.parents[1]
FILES = sorted(FOLDER.glob("*.toml"))
NEEDED = {
    "region-loss",
    "region-drain",
    "region-return",
    "partition",
    "partition-one-way",
    "partition-link",
    "slow-region",
    "slow-replica",
    "limping-replica",
    "replica-crash-loop",
    "gateway-loss",
    "store-loss-cache",
    "store-loss-state",
    "dashboard-loss",
    "overload",
    "disk-full",
    "memory-pressure",
    "restart-storm",
    "retry-storm",
    "standstill",
    "failing-service",
    "surge",
    "flash-sale",
    "clock-skew",
}

TEXT = """
schema = "atoll.drill-scenario/1"
name = "made-up"
title = "Made up"
topology = "local"
steady_errors = 0.01

[load]
shape = "spike"
rate = "600/min"
peak = "30/s"
at = "1min"
for = "500ms"
ways = ["entry", "dns"]
journey = "quote"
think = "2s"
wait = "250ms"
fails = 0.25
countries = ["IE"]
timeout = "1500ms"
client_retries = 2

[[faults]]
kind = "slow"
target = "eu-west"
other = "us-east"
one_way = true
latency = "400ms"

[[faults]]
kind = "throttle"
target = "eu-west"
rate = "64KiB"
before_load = true

[[faults]]
kind = "kill-replica"
target = "us-east"
service = "quote"

[limits]
failed = 10
regions = 2
failed_elsewhere = 3

[expect]
"dns.settled_s" = { at_most = "1500ms" }
"during.goodput_per_s" = { at_least = "1200/min" }
"during.share.eu-west" = { at_least = 0.1, at_most = 0.5 }
"amplification.over_budget" = { at_most = -3 }

[long]
steady = "20s"
fault = "1min"
recovery = "30s"

[short]
steady = "5s"
fault = "6s"
recovery = "7s"
"""
PATH = Path("made-up.toml")


def test_everything_is_read() -> None:
    assert parse_drill(TEXT, PATH) == Drill(
        name="made-up",
        title="Made up",
        topology="local",
        load=Load(
            shape=Shape(ShapeKind.SPIKE, 10.0, peak=30.0, at_s=60.0, for_s=0.5),
            ways=(Way.ENTRY, Way.DNS),
            journey="quote",
            think_s=2.0,
            wait_ms=250.0,
            fails=0.25,
            countries=("IE",),
            timeout_s=1.5,
            client_retries=2,
        ),
        faults=(
            Fault(FaultKind.SLOW, "eu-west", other="us-east", one_way=True, latency_s=0.4),
            Fault(FaultKind.THROTTLE, "eu-west", rate_bytes_per_s=65536.0, before_load=True),
            Fault(FaultKind.KILL_REPLICA, "us-east", service="quote"),
        ),
        limits=Limits(failed=10, regions=2, failed_elsewhere=3),
        expectations=(
            Expectation("dns.settled_s", at_most=1.5),
            Expectation("during.goodput_per_s", at_least=20.0),
            Expectation("during.share.eu-west", at_least=0.1, at_most=0.5),
            Expectation("amplification.over_budget", at_most=-3.0),
        ),
        long=Durations(20.0, 60.0, 30.0),
        short=Durations(5.0, 6.0, 7.0),
        steady_errors=0.01,
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"dns.settled_s"', '"dns.setled_s"', "did you mean 'dns.settled_s'"),
        ('"during.share', '"during.shares', "expect.during.shares.eu-west is unknown"),
        ('at_most = "1500ms"', "at_most = 1.5", "write a duration, such as '1s'"),
        ('at_least = "1200/min"', "at_least = 20", "write a rate, such as '50/s'"),
        ("at_least = 0.1, at_most = 0.5", "at_least = 0.6, at_most = 0.5", "at_least is above at_most"),
        ("at_least = 0.1, at_most = 0.5", "at_most = 5", "a share is a number from 0 to 1"),
        ("at_least = 0.1, at_most = 0.5", 'at_most = "5%"', "write a number (of share), without quotes"),
        ("at_least = 0.1, at_most = 0.5", "at_most = 1", "that holds whatever happens"),
        ("at_least = 0.1, at_most = 0.5", "at_least = 0", "that holds whatever happens"),
        ("{ at_most = -3 }", "{}", "write at_most, at_least, or both"),
        ('ways = ["entry", "dns"]', 'ways = ["entry"]', "add 'dns' to load.ways"),
        ('ways = ["entry", "dns"]', 'ways = ["dns", "dns"]', "name each way once"),
        ('"dns.settled_s"', '"during.entry.errors"\nx', "not TOML"),
        ('name = "made-up"', 'name = "other"', "write 'made-up'"),
        ('peak = "30/s"\n', "", "load.peak is missing: spike needs it"),
        ('for = "500ms"', 'for = "500ms"\nperiod = "3s"', "spike takes at, for, peak"),
        ('shape = "spike"', 'shape = "steady"', "steady takes no such key"),
        ('journey = "quote"', 'journey = "shop"', "only the journey 'quote' waits"),
        ('journey = "quote"', 'journey = "shop"', "only quotes of a spike can be made to fail"),
        ('["IE"]', '["XX"]', "write ISO 3166-1 alpha-2 codes"),
        ('latency = "400ms"\n', "", "faults.0.latency is missing: slow needs it"),
        ('service = "quote"\n', "", "faults.2.service is missing: kill-replica needs it"),
        ('kind = "throttle"', 'kind = "kill"', "kill takes no such key"),
        ('target = "us-east"\nservice', 'target = "us-east/state"\nservice', "write 'us-east'"),
        ('kind = "slow"\n', 'kind = "store-full"\n', "write 'eu-west/cache' or 'eu-west/state'"),
        (
            'kind = "slow"\n',
            'kind = "clock-skew"\nahead = "3s"\n',
            "hits a state store: write 'eu-west/state'",
        ),
        ('target = "eu-west"\nother', 'target = "eu-west/state"\nahead = "1s"\nother', "slow takes latency"),
        ("regions = 2", "regions = 1", "its faults touch 2 regions (eu-west, us-east)"),
        ("failed = 10", "failed = 0", "limits.failed"),
        (
            "steady_errors",
            'proves = "gravity"\nsteady_errors',
            "there is no such mechanism; there are failover",
        ),
        ("[limits]", "[limits]\nfialed = 3", "did you mean 'failed'"),
        ('kind = "slow"', 'kind = "slo"', "faults.0.kind"),
        ('rate = "600/min"', 'rate = "600"', "write a rate as a number above zero and a unit"),
        ('timeout = "1500ms"', "timeout = 1.5", "load.timeout"),
        ('fault = "6s"', 'fault = "0s"', "a duration must be more than zero"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_what_would_be_right(old: str, new: str, words: str) -> None:
    assert old in TEXT
    with pytest.raises(DrillError) as error:
        parse_drill(TEXT.replace(old, new, 1), PATH)
    assert words in str(error.value), str(error.value)
    assert str(error.value).startswith("made-up.toml: ") and "nothing was done" in str(error.value)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    broken = TEXT.replace('"dns.settled_s"', '"dns.setled_s"').replace('["IE"]', '["XX"]')
    with pytest.raises(DrillError) as error:
        parse_drill(broken, PATH)
    assert len(error.value.problems) == 2 and "2 problems" in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DrillError, match="give the path of a TOML file"):
        read_drill(tmp_path / "none.toml")


def test_a_spike_comes_with_the_fault_unless_its_file_says_when() -> None:
    drill = parse_drill(TEXT.replace('at = "1min"\nfor = "500ms"\n', ""), PATH)
    shape = scheduled(drill, drill.short).shape
    assert (shape.at_s, shape.for_s) == (5.0, 6.0)
    said = parse_drill(TEXT, PATH)
    assert scheduled(said, said.short) == said.load


# The files that are there


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_files_are_right(file: Path) -> None:
    drill = read_drill(file)
    topology = load_topology(ROOT / "infra" / "topologies" / f"{drill.topology}.toml")
    for fault in drill.faults:
        assert fault.target.partition("/")[0] in topology.regions
        assert fault.other is None or fault.other in topology.regions
        assert fault.service is None or fault.service in topology.services
    for expectation in drill.expectations:
        parts = expectation.figure.split(".")
        if "share" in parts:
            assert parts[-1] in topology.regions, expectation
        if "service" in parts:
            assert parts[parts.index("service") + 1] in topology.services, expectation
    assert drill.short.steady_s <= drill.long.steady_s
    assert file.read_text().startswith("# "), "each says what it is about"


def test_every_drill_has_its_file() -> None:
    assert {file.stem for file in FILES} >= NEEDED


def test_no_drill_is_only_about_what_always_holds() -> None:
    """A drill of a fault shows that there was something to lose, or that the fault was felt."""
    for file in FILES:
        raw = tomllib.loads(file.read_text())
        if raw.get("faults"):
            felt = [name for name, bound in raw["expect"].items() if "at_least" in bound]
            assert felt or "before.share.eu-west" in raw["expect"], file


# What the README says


def test_the_readme_has_every_key_of_a_file() -> None:
    schema = DrillDocument.model_json_schema(by_alias=True)
    keys = {name for model in (schema, *schema["$defs"].values()) for name in model["properties"]}
    words = set(re.findall(r"[a-z_]+", (ROOT / "loadtests" / "drills" / "README.md").read_text()))
    assert keys <= words, f"not told of: {sorted(keys - words)}"


def test_the_readme_has_every_drill_and_every_figure() -> None:
    readme = (ROOT / "loadtests" / "drills" / "README.md").read_text()
    assert markdown() in readme, "write the table anew: loadtests.drills.figures.table.markdown()"
    for drill in map(read_drill, FILES):
        assert f"| `{drill.name}` | {drill.topology} | {drill.title} |\n" in readme
