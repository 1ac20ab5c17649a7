"""The figures for people in a terminal, and as one JSON document."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtests.bench.faults import Fault
from loadtests.bench.figures import Ratio, Summary, Verdict
from loadtests.bench.wrk import Load

SCHEMA = "atoll.bench-gateway/1"


@dataclass(slots=True)
class Report:
    """Everything that one run of the benchmarks found; what did not run is empty."""

    date: str
    machine: Mapping[str, str | int]
    settings: Mapping[str, object]
    loads: list[Load] = field(default_factory=list)
    summaries: list[Summary] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    layers: Mapping[str, float] = field(default_factory=dict)
    """Microseconds of processor time that a request costs in each layer."""
    faults: list[Fault] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    def document(self) -> dict[str, object]:
        """As it stands in ``build/bench/gateway.json``."""
        verdicts = [{**asdict(verdict), "passed": verdict.passed} for verdict in self.verdicts]
        return {
            "schema": SCHEMA,
            **asdict(self),
            "verdicts": verdicts,
            "passed": all(verdict.passed for verdict in self.verdicts),
        }


def write_json(report: Report, file: Path) -> None:
    """Writes the document."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report.document(), indent=1) + "\n")


def show(report: Report, console: Console) -> None:
    """Prints the tables."""
    if report.summaries:
        console.print(_loads(report.summaries))
    if report.ratios:
        console.print(_ratios(report.ratios))
    if report.layers:
        console.print(_layers(report.layers))
    if report.faults:
        console.print(_faults(report.faults))
    if report.verdicts:
        console.print(_verdicts(report.verdicts))


def _loads(found: Sequence[Summary]) -> Table:
    table = Table(title="One process each, same upstream, medians of interleaved rounds")
    for column in (
        "connections",
        "subject",
        "req/s",
        "req/CPU s",
        "p50 us",
        "p99 us",
        "added p50 us",
        "errors",
    ):
        table.add_column(column, justify="left" if column == "subject" else "right")
    last = None
    for summary in found:
        if last not in {None, summary.connections}:
            table.add_section()
        last = summary.connections
        table.add_row(
            str(summary.connections),
            summary.subject,
            f"{summary.requests_per_s:,.0f}",
            f"{summary.requests_per_cpu_s:,.0f}",
            f"{summary.p50_us:,.0f}",
            f"{summary.p99_us:,.0f}",
            f"{summary.added_p50_us:,.0f}",
            str(summary.errors),
        )
    return table


def _ratios(found: Iterable[Ratio]) -> Table:
    table = Table(title="Ratios, above 1 is better than the other one")
    for column in ("subject", "against", "connections", "throughput", "per CPU second", "added p50"):
        table.add_column(column, justify="left" if column in {"subject", "against"} else "right")
    for ratio in found:
        table.add_row(
            ratio.subject,
            ratio.against,
            str(ratio.connections),
            f"{ratio.throughput:.2f}",
            f"{ratio.cpu:.2f}",
            f"{ratio.added_p50:.2f}",
        )
    return table


def _layers(layers: Mapping[str, float]) -> Table:
    table = Table(title="What a request costs in each layer")
    table.add_column("layer")
    table.add_column("us", justify="right")
    for layer, microseconds in layers.items():
        table.add_row(layer, f"{microseconds:.1f}")
    return table


def _faults(faults: Iterable[Fault]) -> Table:
    table = Table(title="Ten times slower, all at once")
    for column in (
        "fault",
        "proxy",
        "p99 before ms",
        "after ms",
        "at the end ms",
        "failed",
        "settled after s",
    ):
        table.add_column(column, justify="left" if column in {"fault", "proxy"} else "right")
    for fault in faults:
        table.add_row(
            fault.scenario,
            fault.subject,
            f"{fault.normal_p99_ms:.1f}",
            f"{fault.faulty_p99_ms:.1f}",
            f"{fault.end_p99_ms:.1f}",
            str(fault.failed),
            "never" if fault.settled_s is None else f"{fault.settled_s:.1f}",
        )
    return table


def _verdicts(found: Iterable[Verdict]) -> Table:
    table = Table(title="Aims")
    for column in ("aim", "wanted", "reached", ""):
        table.add_column(column, justify="left" if column in {"aim", ""} else "right")
    for verdict in found:
        passed = "[green]reached[/]" if verdict.passed else "[red]not reached[/]"
        table.add_row(verdict.aim, f"{verdict.wanted:.2f}", f"{verdict.reached:.2f}", passed)
    return table
