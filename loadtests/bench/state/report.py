"""The figures for people in a terminal, and as one JSON document."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtests.bench.state.figures import Aim, Comparison, Lag, Memory, Throughput, Trips

SCHEMA = "atoll.bench-state/1"


@dataclass(slots=True)
class Report:
    """Everything that one run found; what did not run is empty."""

    date: str
    commit: str
    machine: Mapping[str, str | int | float]
    settings: Mapping[str, object]
    comparisons: list[Comparison] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    throughput: list[Throughput] = field(default_factory=list)
    lag: list[Lag] = field(default_factory=list)
    strong: list[Trips] = field(default_factory=list)
    aims: list[Aim] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return all(aim.passed for aim in self.aims)

    def document(self) -> dict[str, object]:
        """As it stands in ``build/bench/state.json``."""
        return {
            "schema": SCHEMA,
            **asdict(self),
            "memory": [{**asdict(one), "ratio": one.ratio} for one in self.memory],
            "lag": [{**asdict(one), "limit_ms": one.limit_ms} for one in self.lag],
            "strong": [{**asdict(one), "round_trips": one.round_trips} for one in self.strong],
            "aims": [{**asdict(aim), "passed": aim.passed} for aim in self.aims],
            "passed": self.passed,
        }


def write_json(report: Report, file: Path) -> None:
    """Writes the document."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report.document(), indent=1) + "\n")


def show(report: Report, console: Console) -> None:
    """Prints the tables of what was measured."""
    tables = (
        (report.comparisons, _comparisons),
        (report.memory, _memory),
        (report.throughput, _throughput),
        (report.lag, _lag),
        (report.strong, _strong),
        (report.aims, _aims),
    )
    for found, table in tables:
        if found:
            console.print(table(report))


def _comparisons(report: Report) -> Table:
    table = _table(
        "Beside bare commands: medians of interleaved rounds, ratio of throughput with its quartiles",
        "operation", "against", "way",
        right=("op/s", "bare op/s", "p50 us", "bare", "p99 us", "bare", "ratio", "quartiles"),
    )  # fmt: skip
    for one in report.comparisons:
        table.add_row(
            one.operation,
            one.against,
            one.way,
            f"{one.ours.per_s:,.0f}",
            f"{one.theirs.per_s:,.0f}",
            f"{one.ours.p50_us:,.0f}",
            f"{one.theirs.p50_us:,.0f}",
            f"{one.ours.p99_us:,.0f}",
            f"{one.theirs.p99_us:,.0f}",
            f"{one.ratio:.2f}",
            f"{one.low:.2f}-{one.high:.2f}",
        )
    return table


def _memory(report: Report) -> Table:
    table = _table(
        "Memory of a key, values of 100 bytes", "what", right=("keys", "bytes", "bare", "ratio", "log entry")
    )
    for one in report.memory:
        table.add_row(
            one.what,
            f"{one.keys:,}",
            f"{one.ours_bytes:.0f}",
            f"{one.bare_bytes:.0f}",
            f"{one.ratio:.2f}",
            f"{one.log_bytes:.0f}",
        )
    return table


def _throughput(report: Report) -> Table:
    table = _table(
        "Replication of a burst, all processes on this machine",
        "written in",
        right=("writes", "written/s", "in all regions/s"),
    )
    for one in report.throughput:
        table.add_row(
            ", ".join(one.origins),
            f"{one.writes:,}",
            f"{one.written_per_s:,.0f}",
            f"{one.replicated_per_s:,.0f}",
        )
    return table


def _lag(report: Report) -> Table:
    table = _table(
        f"Lag under load ({report.settings.get('load', '')}), ms",
        "from",
        "to",
        right=("half rtt", "writes", "p50", "p99", "most", "p99 under"),
    )
    for one in report.lag:
        table.add_row(
            one.origin,
            one.destination,
            f"{one.rtt_ms / 2:.1f}",
            f"{one.writes:,}",
            *(f"{value:.1f}" for value in (one.p50_ms, one.p99_ms, one.most_ms, one.limit_ms)),
        )
    return table


def _strong(report: Report) -> Table:
    table = _table(
        "Strong registers: needed is the round trip to the home and from there to the nearest majority",
        "operation", "from", "home",
        right=("count", "needed ms", "p50 ms", "p99 ms", "p50 by needed"),
    )  # fmt: skip
    for one in report.strong:
        trips = one.round_trips
        table.add_row(
            one.operation,
            one.caller,
            one.home,
            str(one.count),
            *(f"{value:.1f}" for value in (one.needed_ms, one.p50_ms, one.p99_ms)),
            "no latency" if trips is None else f"{trips:.2f}",
        )
    return table


def _aims(report: Report) -> Table:
    table = _table("Aims", "aim", right=("wanted", "reached"))
    table.add_column("")
    for aim in report.aims:
        passed = "[green]reached[/]" if aim.passed else "[red]not reached[/]"
        bound = "at most" if aim.at_most else "at least"
        table.add_row(aim.aim, f"{bound} {aim.wanted:.2f}", f"{aim.reached:.2f}", passed)
    return table


def _table(title: str, *left: str, right: Iterable[str]) -> Table:
    table = Table(title=title)
    for column in left:
        table.add_column(column)
    for column in right:
        table.add_column(column, justify="right")
    return table
