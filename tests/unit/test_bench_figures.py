"""The arithmetic of the benchmarks; what they measure is not tested here."""

import json
from pathlib import Path

import pytest

from loadtests.bench.faults import AFTER_S, BEFORE_S, judge
from loadtests.bench.figures import Ratio, Verdict, ratios, summaries, verdicts
from loadtests.bench.layers import own_costs
from loadtests.bench.openloop import Asked, quantile, settled_s
from loadtests.bench.peers import serve
from loadtests.bench.plot import page
from loadtests.bench.report import SCHEMA, Report, write_json
from loadtests.bench.rounds import interleaved
from loadtests.bench.workbench import Running
from loadtests.bench.wrk import Load


def load(
    subject: str, turn: int, per_s: float, p50_us: float, connections: int = 1, cpu: float = 1000.0
) -> Load:
    return Load(subject, connections, turn, 1000, 0, per_s, cpu, p50_us, 2 * p50_us)


def test_every_subject_comes_first_once() -> None:
    subjects = [Running(name, 1, 1) for name in "abc"]
    orders = [[subject.name for subject in interleaved(subjects, turn)] for turn in range(4)]
    assert orders == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


def test_a_summary_has_the_median_of_its_rounds() -> None:
    loads = [load("gateway", turn, per_s, 100.0) for turn, per_s in enumerate((10.0, 1000.0, 30.0))]
    (summary,) = summaries(loads)
    assert summary.requests_per_s == 30.0
    assert summary.added_p50_us == 100.0  # the upstream itself was not measured


def test_what_is_added_counts_from_the_upstream_in_the_same_round() -> None:
    loads = [
        *(load("upstream", turn, 1.0, p50) for turn, p50 in enumerate((10.0, 50.0))),
        *(load("gateway", turn, 1.0, p50) for turn, p50 in enumerate((30.0, 90.0))),
    ]
    found = {summary.subject: summary for summary in summaries(loads)}
    assert found["gateway"].added_p50_us == 30.0  # the median of 20 and 40
    assert found["upstream"].added_p50_us == 0.0


def test_ratios_are_taken_within_a_round_before_the_median() -> None:
    """A machine that is ten times slower in one round does not change the ratio; medians first would."""
    loads = [
        *(load("envoy", turn, per_s, 100.0, 32) for turn, per_s in enumerate((100.0, 10.0, 100.0))),
        *(load("gateway", turn, per_s, 50.0, 32) for turn, per_s in enumerate((80.0, 8.0, 8.0))),
    ]
    (ratio,) = ratios(loads, ["gateway"], "envoy")
    assert ratio.throughput == pytest.approx(0.8)
    assert ratio.added_p50 == pytest.approx(2.0)  # Envoy adds twice as much


def test_a_subject_that_did_not_run_has_no_ratio() -> None:
    assert ratios([load("gateway", 0, 1.0, 1.0)], ["gateway", "forwarding"], "envoy") == []


def test_there_are_four_aims_beside_envoy() -> None:
    found = [
        Ratio(subject, "envoy", connections, throughput, 1.0, added)
        for subject in ("forwarding", "gateway")
        for connections, throughput, added in ((1, 9.0, 1.5), (32, 0.9, 9.0), (128, 9.0, 9.0))
    ]
    made = verdicts(found)
    assert [verdict.reached for verdict in made] == [0.9, 1.5, 0.9, 1.5]
    assert [verdict.passed for verdict in made] == [False, True, False, True]
    assert verdicts([Ratio("gateway", "haproxy", 32, 2.0, 2.0, 2.0)]) == []


def test_serve_is_judged_at_the_most_connections() -> None:
    found = [
        Ratio(serve.GATEWAY, serve.PROXY, count, by, 1.0, 1.0)
        for count, by in ((1, 9.0), (32, 4.5), (8, 2.0))
    ]
    assert serve.verdict(found) == Verdict("gateway to Serve by bare Serve with its default proxy", 4.0, 4.5)


def test_a_layer_costs_what_it_takes_less_what_is_behind_it() -> None:
    whole = {"nothing": 1.0, "edge": 20.0, "routing": 9.0, "replicas": 6.0}
    assert own_costs(whole) == {"edge": 11.0, "routing": 3.0, "replicas": 5.0}


def test_a_quantile_is_of_what_was_due_in_its_span() -> None:
    asked = [Asked(number / 10, number / 1000, ok=True) for number in range(100)]
    assert quantile(asked, 0.5) == pytest.approx(0.05)
    assert quantile(asked, 0.99, 5.0, 6.0) == pytest.approx(0.059)
    assert quantile(asked, 0.99, 50.0) == 0.0


def slowed(until_s: float, seconds: float = 15.0) -> list[Asked]:
    """200 requests a second; those due from 5 s to `until_s` take ten times as long."""
    dues = [number / 200 for number in range(int(200 * seconds))]
    return [Asked(due, 0.1 if BEFORE_S <= due < until_s else 0.01, ok=True) for due in dues]


def test_settled_is_when_p99_stays_low_for_good() -> None:
    assert settled_s(slowed(7.0), 0.015, BEFORE_S) == 2.0
    relapse = [
        Asked(one.due_s, 0.1 if 12.0 <= one.due_s < 12.1 else one.seconds, ok=True) for one in slowed(7.0)
    ]
    assert settled_s(relapse, 0.015, BEFORE_S) == 7.5
    assert settled_s(slowed(99.0), 0.015, BEFORE_S) is None
    assert settled_s([], 0.015, BEFORE_S) is None


def test_a_fault_is_judged_by_what_was_normal_before_it() -> None:
    fault = judge("slow-region", "gateway", slowed(BEFORE_S + 4.0, BEFORE_S + AFTER_S), 0.0)
    assert fault.normal_p99_ms == pytest.approx(10.0)
    assert fault.faulty_p99_ms == pytest.approx(100.0)
    assert fault.end_p99_ms == pytest.approx(10.0)
    assert (fault.failed, fault.settled_s) == (0, 4.0)


def test_the_document_and_the_page_have_every_figure(tmp_path: Path) -> None:
    loads = [load("envoy", 0, 100.0, 50.0, 32), load("gateway", 0, 90.0, 60.0, 32)]
    report = Report("2026-11-21T00:00:00+00:00", {"cores": 2}, {"rounds": 1}, loads, summaries(loads))
    report.ratios = ratios(loads, ["gateway"], "envoy")
    report.verdicts = verdicts(report.ratios)
    report.layers = {"edge <fast>": 3.0}
    report.faults = [judge("slow-region", "gateway", slowed(99.0), 0.0)]
    write_json(report, tmp_path / "bench" / "gateway.json")
    document = json.loads((tmp_path / "bench" / "gateway.json").read_text())
    assert document["schema"] == SCHEMA
    assert document["passed"] is False
    assert document["verdicts"][0]["reached"] == pytest.approx(0.9)
    assert document["faults"][0]["settled_s"] is None
    assert len(document["loads"]) == 2
    html = page(report)
    assert "edge &lt;fast&gt;" in html
    assert "never" in html
    assert "http" not in html.replace("fastapi-httpx", "")  # it needs nothing from anywhere
