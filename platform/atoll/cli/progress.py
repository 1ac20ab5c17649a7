"""Shows what long work waits for: a live table on a terminal, a line an event elsewhere."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from atoll.cell.progress import Progress, Report, StepState
from atoll.clock import Clock, SystemClock

WHOLE = "run"
"""How steps that belong to no region are labelled."""


@contextmanager
def progress_display(
    console: Console, regions: Sequence[str] = (), clock: Clock | None = None
) -> Iterator[Report]:
    """Takes progress events while the block runs. `regions` are shown from the start, in this order."""
    clock = clock or SystemClock()
    if not console.is_terminal:
        yield PlainProgress(console, clock)
        return
    display = LiveProgress(regions, clock)
    with Live(console=console, get_renderable=display.render, refresh_per_second=8):
        yield display


class PlainProgress:
    """One line for each event that says something new; waiting is said once a step and reason."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._begin = clock.monotonic()
        self._said: set[tuple[str | None, str, StepState, str]] = set()

    def __call__(self, event: Progress) -> None:
        key = (event.region, event.step, event.state, event.detail)
        if key in self._said:
            return
        if event.state is StepState.WAITING:
            self._said.add(key)
        else:
            self._said -= {known for known in self._said if known[:2] == key[:2]}
        elapsed = self._clock.monotonic() - self._begin
        self._console.print(f"{elapsed:6.1f} s  {event.region or WHOLE:<14} {event.step}: {_words(event)}")


@dataclass(slots=True)
class _Step:
    event: Progress
    since: float


class LiveProgress:
    """A row a region: what it waits for and how long already, or that it is done."""

    def __init__(self, regions: Sequence[str], clock: Clock) -> None:
        self._clock = clock
        self._begin = clock.monotonic()
        self._spinner = Spinner("dots")
        self._rows: dict[str, dict[str, _Step]] = {region: {} for region in regions}

    def __call__(self, event: Progress) -> None:
        # Steps are only ever added or replaced, one assignment each: the thread that draws may read meanwhile.
        row = self._rows.setdefault(event.region or WHOLE, {})
        since = self._clock.monotonic() - event.seconds
        before = row.get(event.step)
        if before is not None and before.event.state is StepState.WAITING:
            since = min(since, before.since)
        row[event.step] = _Step(event, since)

    def render(self) -> RenderableType:
        """The table as it is now."""
        now = self._clock.monotonic()
        table = Table.grid(padding=(0, 2))
        for label, steps in tuple(self._rows.items()):
            table.add_row(*self._row(label, tuple(steps.values()), now))
        table.add_row("", "", Text(f"{now - self._begin:.0f} s", style="dim"))
        return table

    def _row(self, label: str, steps: tuple[_Step, ...], now: float) -> tuple[RenderableType, str, Text]:
        failed = [step for step in steps if step.event.state is StepState.FAILED]
        waiting = [step for step in steps if step.event.state is StepState.WAITING]
        if failed:
            words = "; ".join(f"{step.event.step} {_words(step.event)}" for step in failed)
            return Text("✗", style="red"), label, Text(words, style="red")
        if waiting or not steps:
            words = ", ".join(
                f"{step.event.step} {now - step.since:.0f} s"
                + (f" ({step.event.detail})" if step.event.detail else "")
                for step in waiting
            )
            return self._spinner, label, Text(f"waiting for {words}" if words else "waiting")
        return Text("✓", style="green"), label, Text(steps[-1].event.step + " done", style="dim")


def _words(event: Progress) -> str:
    detail = f": {event.detail}" if event.detail else ""
    match event.state:
        case StepState.WAITING:
            return f"waiting{detail}"
        case StepState.DONE:
            return f"done in {event.seconds:.1f} s{detail}"
        case StepState.FAILED:
            return f"failed after {event.seconds:.1f} s{detail}"
