"""What people see while a drill runs, and when it is over: live on a terminal, line by line elsewhere."""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from atoll.cli import output
from loadtests.drills.compare import Change, Comparison
from loadtests.drills.conductor import Course, Stage
from loadtests.drills.glance import Glance, glance
from loadtests.drills.page.comparison import ALIKE, COLUMNS, cells, outcomes
from loadtests.drills.page.words import (
    HELD,
    NOTHING,
    SIGN,
    SIGNS,
    WORDS,
    bound,
    date,
    milliseconds,
    said,
    sentence,
)
from loadtests.drills.record import Mark, MarkKind, Record
from loadtests.drills.report import DrillDocument
from loadtests.drills.scenario import Drill
from loadtests.drills.verdict import TOO_BUSY, Outcome

EVERY_S = 5.0
"""Between two lines where there is no terminal."""
BAR = 30
_FULL, _PARTS = "\u2588", " \u258f\u258e\u258d\u258c\u258b\u258a\u2589"
_STYLES = {
    MarkKind.FAULT: "bold red",
    MarkKind.HEAL: "bold green",
    MarkKind.ALERT: "bold yellow",
    MarkKind.DECISION: "cyan",
}
_OUTCOMES = {Outcome.PASSED: "bold green", Outcome.FAILED: "bold red"}
_HELD = {True: "green", False: "bold red", None: "yellow"}


class Summary:
    """Shows a drill. Used with `with`, which leaves a clean terminal behind, however the block ends."""

    def __init__(self, console: Console, drill: Drill) -> None:
        self._console = console
        self._drill = drill
        self._glance: Glance | None = None
        self._waits_for = ""
        self._told: set[Mark] = set()
        self._next_s = 0.0
        self._live = (
            Live(console=console, transient=True, refresh_per_second=4, get_renderable=self._render)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        self._console.print(f"{self._drill.name}: {self._drill.title}")
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def waits(self, why: str) -> None:
        """Takes what the drill waits for before it begins. Each is told once where there is no terminal."""
        if self._live is None and why != self._waits_for:
            self._console.print(f"waiting: {why}")
        self._waits_for = why

    def update(self, record: Record, course: Course) -> None:
        """Takes what was seen so far. Each mark is told once."""
        for mark in record.marks:
            if mark.kind is not MarkKind.PHASE and mark not in self._told:
                self._told.add(mark)
                self._console.print(_mark(mark, record.phases.begin_s))
        self._glance = glance(record, course, self._drill)
        if self._live is None and self._glance.elapsed_s >= self._next_s:
            self._next_s = self._glance.elapsed_s + EVERY_S
            self._console.print(line(self._glance))

    def end(self, document: DrillDocument) -> None:
        """Shows the verdict in the place of what was live."""
        self._stop()
        for part in verdict(document):
            self._console.print(part)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()

    def _render(self) -> RenderableType:
        if self._glance is not None:
            return live(self._glance)
        return Text(f"waiting: {self._waits_for or 'the first users'}", style="dim")


def live(seen: Glance) -> RenderableType:
    """The summary as it is redrawn in place."""
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(no_wrap=True, overflow="ellipsis")
    done = 1 - seen.remaining_s / seen.lasts_s if seen.lasts_s > 0 else 1.0
    style = {Stage.FAULT: "red", Stage.RECOVERY: "green"}.get(seen.stage, "cyan")
    table.add_row(
        Text(seen.part, style=f"bold {style}"), Text(bar(done), style=style), f"{seen.remaining_s:.0f} s left"
    )
    for name, share in seen.shares.items():
        table.add_row(name, Text(bar(share), style="blue"), f"{share:4.0%}  {seen.states.get(name, '')}")
    return _below(table, Text.assemble(*_facts(seen)))


def _below(table: Table, words: Text) -> RenderableType:
    grid = Table.grid()
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row(table)
    grid.add_row(words)
    return grid


def _facts(seen: Glance) -> Iterator[tuple[str, str]]:
    yield f"{seen.rate:.1f} requests/s, p50 {milliseconds(seen.p50_s)}, p99 {milliseconds(seen.p99_s)}", ""
    spent = "bold red" if seen.failed >= seen.budget else "yellow" if seen.failed else "green"
    yield f", {seen.failed:,} failed of {seen.budget:,} that may", spent
    if seen.busy is not None:
        yield f", processor {seen.busy:.0%}", "bold red" if seen.busy > TOO_BUSY else ""


def line(seen: Glance) -> str:
    """The summary as a line of a log."""
    shares = ", ".join(f"{name} {share:.0%}" for name, share in seen.shares.items())
    facts = "".join(text for text, _ in _facts(seen))
    return f"{seen.elapsed_s:6.1f} s  {seen.part:<12} {seen.remaining_s:4.0f} s left  {facts}; {shares or 'no answers'}"


def bar(share: float, width: int = BAR) -> str:
    """As long as its share of `width`, to an eighth of a character; always `width` characters."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return (_FULL * full + (_PARTS[rest] if rest else "")).ljust(width)


def verdict(document: DrillDocument) -> Iterator[RenderableType]:
    """How it went: outcome, what happened, and each expectation with what was seen."""
    found = document.verdict
    text = Text(
        f"{SIGNS[found.outcome]} {WORDS[found.outcome]}", style=_OUTCOMES.get(found.outcome, "bold yellow")
    )
    yield text.append(f"  {document.name}", style="bold default")
    yield Text(sentence(document))
    for reason in found.reasons:
        yield Text(f"- {reason}")
    if found.expectations:
        yield Text()
        rows = output.table("Figure", "Expected", "Seen", "Held", right=("Seen",))
        for one in found.expectations:
            seen = NOTHING if one.seen is None else said(one.seen, one.unit)
            rows.add_row(
                one.figure,
                bound(one),
                seen,
                Text(f"{SIGN[one.held]} {HELD[one.held]}", style=_HELD[one.held]),
            )
        yield rows


def beside(compared: Comparison) -> Iterator[RenderableType]:
    """What became of the figures of an earlier run."""
    yield Text(f"\nBeside the run of {date(compared.old_date)}\n{outcomes(compared)}")
    for warning in compared.warnings:
        yield Text(f"- {warning}")
    if not compared.telling:
        yield Text(ALIKE)
        return
    rows = output.table(*COLUMNS, right=COLUMNS[1:4])
    for one in compared.telling:
        *numbers, became = cells(one)
        rows.add_row(one.figure, *numbers, Text(became, style=_HELD[one.change is Change.BETTER]))
    yield rows


def _mark(mark: Mark, begin_s: float) -> Text:
    text = Text(f"{mark.at_s - begin_s:6.1f} s  ")
    text.append(f"{mark.kind.value:<12} ", style=_STYLES.get(mark.kind, ""))
    return text.append(mark.text)
