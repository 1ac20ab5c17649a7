"""What was found, for people in a terminal, as one JSON document, and as a picture."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtests.capacity.objectives import Judgement, Measured, Objectives
from loadtests.capacity.search import Bound, Found
from loadtests.drills.charts import Curve, CurvePoint, capacity

SCHEMA = "atoll.capacity/1"

_BOUNDS = {
    Bound.OBJECTIVES: "above it the objectives don't hold",
    Bound.MACHINE: "above it this machine is too busy: the regions themselves may carry more",
    Bound.ASKED: "no higher rate was asked for",
    Bound.NOTHING: "no rate that was tried holds",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One measurement."""

    seen: Measured
    judgement: Judgement
    why: str

    @property
    def words(self) -> str:
        """All of it in a line."""
        seen = self.seen
        came = ", ".join(f"{region} {share:.0%}" for region, share in seen.shares.items())
        figures = (
            f"{seen.errors} of {seen.requests} failed, p50 {_ms(seen.p50_s)} ms, p99 {_ms(seen.p99_s)} ms, "
            f"{seen.busy:.0%} of the machine in use"
        )
        told = f"{self.judgement}: {self.why}" if self.why else str(self.judgement)
        return f"{seen.rate:.1f}/s {told} ({figures}{f'; answered by {came}' if came else ''})"


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to run the same service, and what it carries."""

    name: str
    steps: tuple[Step, ...]
    found: Found

    @property
    def words(self) -> str:
        """The result in a sentence."""
        rate = "nothing" if self.found.rate is None else f"{self.found.rate:.1f} requests a second"
        return f"{self.name}: {rate}; {_BOUNDS[self.found.bound]}"


@dataclass(slots=True)
class Report:
    """Everything that one run found."""

    date: str
    machine: Mapping[str, str | int]
    topology: str
    topology_digest: str
    region: str
    """Where requests come in."""
    settings: Mapping[str, object]
    objectives: Objectives
    modes: list[Mode] = field(default_factory=list)

    def document(self) -> dict[str, object]:
        """As it stands in ``build/bench/capacity.json``."""
        return {"schema": SCHEMA, **asdict(self)}


def write(report: Report, folder: Path) -> tuple[Path, Path]:
    """Writes ``capacity.json`` and ``capacity.svg``; returns where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    data, picture = folder / "capacity.json", folder / "capacity.svg"
    data.write_text(json.dumps(report.document(), indent=1) + "\n", encoding="utf-8")
    picture.write_text(str(drawn(report)) + "\n", encoding="utf-8")
    return data, picture


def drawn(report: Report) -> str:
    """Latency against rate: one curve a mode; where a rate was measured more than once, by what it was found to be."""
    return capacity([_curve(mode) for mode in report.modes], report.objectives.p99_s * 1000.0)


def show(report: Report, console: Console) -> None:
    """Prints a table a mode, and the result."""
    for mode in report.modes:
        table = Table(title=f"Latency against rate, {mode.name}")
        for column in ("rate/s", "requests", "failed", "p50 ms", "p99 ms", "busy", ""):
            table.add_column(column, justify="left" if not column else "right")
        for step in sorted(mode.steps, key=lambda step: step.seen.rate):
            seen = step.seen
            table.add_row(
                f"{seen.rate:.1f}",
                str(seen.requests),
                str(seen.errors),
                _ms(seen.p50_s),
                _ms(seen.p99_s),
                f"{seen.busy:.0%}",
                "[green]held[/]" if step.judgement is Judgement.HELD else f"[red]{step.why}[/]",
            )
        console.print(table)
    for mode in report.modes:
        console.print(mode.words, soft_wrap=True)


def _curve(mode: Mode) -> Curve:
    points: dict[float, list[Step]] = {}
    for step in mode.steps:
        points.setdefault(step.seen.rate, []).append(step)
    return Curve(
        mode.name,
        [_point(rate, steps, mode.found) for rate, steps in sorted(points.items())],
        mode.found.rate,
        at_least=mode.found.bound is Bound.MACHINE,
    )


def _point(rate: float, steps: list[Step], found: Found) -> CurvePoint:
    held = found.rate is not None and rate <= found.rate
    alike = [step for step in steps if (step.judgement is Judgement.HELD) is held] or steps
    latencies = sorted(step.seen.p99_s for step in alike if step.seen.p99_s is not None)
    return CurvePoint(rate, latencies[len(latencies) // 2] * 1000.0 if latencies else None, held)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.0f}"
