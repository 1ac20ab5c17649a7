"""The report of a drill as a document: complete, small, and read back as it was written."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from tests.unit.drill_records import BEGIN, SETTING, Loss, drill, region_loss, report, request

from atoll.cli.documents import schema_text
from loadtests.drills import report as reports
from loadtests.drills.figures import figures, flatten
from loadtests.drills.record import Mark, MarkKind
from loadtests.drills.report import DRILL, MOST_MARKS, ReportError, document, read, write
from loadtests.drills.series import seconds
from loadtests.drills.verdict import judge


def test_it_is_what_its_schema_says() -> None:
    jsonschema.validate(json.loads(DRILL.dump_json(report())), json.loads(schema_text("atoll.drill/1")))
    never = json.loads(DRILL.dump_json(report(Loss(returns_s=100.0, lost_writes=1))))
    assert never["figures"]["recovery_s"] == "never"
    jsonschema.validate(never, json.loads(schema_text("atoll.drill/1")))


def test_it_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    for loss in (Loss(), Loss(returns_s=100.0)):
        found = report(loss)
        write(found, tmp_path / "deep" / "region-loss.json")
        again = read(tmp_path / "deep" / "region-loss.json")
        assert again.figures == found.figures
        assert DRILL.dump_json(again) == DRILL.dump_json(found)
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["region-loss.json"]


def test_every_figure_is_in_it_and_none_is_infinite() -> None:
    found = report(Loss(returns_s=100.0))
    assert list(found.figures) == list(flatten(figures(region_loss(Loss(returns_s=100.0)), drill())))
    json.loads(DRILL.dump_json(found), parse_constant=pytest.fail)


def test_times_are_since_the_beginning() -> None:
    found = report()
    assert (found.phases.fault_s, found.phases.heal_s, found.phases.end_s) == (15.0, 35.0, 65.0)
    assert found.marks[1].at_s == 15.0 and found.marks[1].kind is MarkKind.FAULT
    assert found.samples.at_s[:2] == (1.0, 2.0)


def test_each_second_adds_up() -> None:
    record = region_loss(Loss(errors_for_s=3.0))
    columns = seconds(record)
    assert len(columns.requests) == 65
    assert sum(columns.requests) == len(record.requests)
    failed = sum(one.failed for one in record.requests)
    assert sum(map(sum, columns.errors.values())) == failed == sum(map(sum, columns.errors_by_way.values()))
    assert sum(map(sum, columns.traffic.values())) == len(record.requests) - failed
    assert columns.traffic["eu-west"][20] == 0 < columns.traffic["eu-west"][5]
    assert set(columns.errors) == {"refused"}
    for by_way in zip(*columns.requests_by_way.values(), columns.requests, strict=True):
        assert sum(by_way[:-1]) == by_way[-1]


def test_a_second_without_answers_has_no_latency() -> None:
    record = replace(region_loss(), requests=(request(0.5, 0.2), request(2.5, error="500")))
    columns = seconds(record)
    assert columns.p50_s[:3] == (0.2, None, None)


def test_a_region_that_does_not_answer_is_a_gap() -> None:
    region = report().samples.regions["eu-west"]
    assert region.replicas["catalog"][20] is None and region.replicas["catalog"][5] == 1
    assert region.state[20] == "killed"


def test_ten_minutes_with_thousands_of_errors_stay_small() -> None:
    long = Loss(rate=60.0, steady_s=60.0, fault_s=300.0, recovery_s=240.0, errors_for_s=300.0)
    assert len(DRILL.dump_json(report(long))) < 512 * 1024


def test_too_many_marks_leave_out_decisions_alone() -> None:
    record = region_loss()
    decisions = tuple(
        Mark(BEGIN + number / 100, MarkKind.DECISION, "eu-west wants 2 of quote instead of 1")
        for number in range(5000)
    )
    crowded = replace(record, marks=(*decisions, *record.marks))
    seen = figures(crowded, drill())
    found = document(crowded, drill(), seen, judge(seen, crowded, drill()), SETTING)
    assert len(found.marks) == MOST_MARKS
    assert found.marks_left_out == len(crowded.marks) - MOST_MARKS
    assert {MarkKind.FAULT, MarkKind.HEAL, MarkKind.PHASE} <= {mark.kind for mark in found.marks}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "give the path of a drill's JSON report"),
        ("no", "is not JSON"),
        ("[]", "its schema is None"),
        ('{"schema": "atoll.status/1"}', "is no report of a drill"),
        ('{"schema": "atoll.drill/1"}', "of another version of Atoll: name: "),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    file = tmp_path / "old.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ReportError, match=words):
        reports.read(file)
