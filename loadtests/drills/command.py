"""``atoll drill NAME``: reads the drill, holds it, judges it, writes the reports, and ends with the verdict."""

import asyncio
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from atoll.cell.client import SupervisorClient
from atoll.cell.paths import RunPaths
from atoll.cli import output
from atoll.cli.exits import CommandError, Exit
from atoll.clock import SystemClock
from atoll.topology import load
from loadtests.bench.workbench import machine
from loadtests.drills import report
from loadtests.drills.compare import CompareError, Comparison, check, compare
from loadtests.drills.conductor import End
from loadtests.drills.document import FOLDER, TOPOLOGIES, DrillError, read_drill
from loadtests.drills.figures import figures
from loadtests.drills.injection import HealFailed, InjectionFailed
from loadtests.drills.lock import DrillRunning, drill_lock
from loadtests.drills.nearest import nearest
from loadtests.drills.page import page
from loadtests.drills.rehearsal import Over, Rehearsal
from loadtests.drills.report import DRILL, DrillDocument, ReportError, Setting
from loadtests.drills.scenario import Drill, Durations
from loadtests.drills.target import NotCalm, Remote, Target, TargetRefused, connect_local
from loadtests.drills.terminal import Summary, beside
from loadtests.drills.traffic import TrafficFailed
from loadtests.drills.verdict import judge


@dataclass(frozen=True, slots=True)
class Options:
    """How a drill is held."""

    short: bool = False
    rate: float | None = None
    seed: int = 0
    against: Path | None = None
    without: str = ""
    out: Path = Path("build/drills")
    json: bool = False
    entry: str | None = None
    yes: bool = False


def drills() -> Mapping[str, Drill]:
    """All that there are, by name. Raises `DrillError`."""
    return {drill.name: drill for drill in map(read_drill, sorted(FOLDER.glob("*.toml")))}


def find_drill(name: str) -> Drill:
    """A drill by its name, or by the path of its file. Raises `CommandError`."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        if not name.endswith(".toml") and not path.exists():
            known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.toml")))
            raise CommandError(f"there is no drill {name!r}; there are: {known}", Exit.USAGE)
        return read_drill(path)
    except DrillError as error:
        raise CommandError(str(error), Exit.USAGE) from error


def print_drills(console: Console) -> None:
    """A table of all drills. Raises `CommandError`."""
    table = output.table("Drill", "Topology", "Long", "Short", "What happens", right=("Long", "Short"))
    try:
        for name, drill in drills().items():
            table.add_row(name, drill.topology, _minutes(drill.long), _minutes(drill.short), drill.title)
    except DrillError as error:
        raise CommandError(str(error), Exit.USAGE) from error
    console.print(table)


async def drill(name: str, options: Options, paths: RunPaths) -> Exit:
    """Holds one drill and tells people, or programs, of it. Raises `CommandError`, `NotRunning`."""
    found = find_drill(name)
    before = _earlier(options, name=found.name)
    target: Target
    if options.entry is None:
        target = await connect_local(SupervisorClient(paths))
        with _locked(paths):
            document = await hold(found, options, target)
    else:
        target = Remote(options.entry, deployed(found))
        await _ask_first(found, target, options)
        document = await hold(found, options, target)
    if document is None:
        raise KeyboardInterrupt
    comparison = None if before is None else compare(before, document)
    keep(document, comparison, options.out)
    console = output.console(sys.stderr)
    for part in () if comparison is None else beside(comparison):
        console.print(part)
    console.print(f"Report: {options.out / document.name}.html and .json")
    if options.json:
        output.print_json(DRILL.dump_json(document, indent=2))
    return Exit(document.verdict.outcome.exit_status)


async def hold(drill: Drill, options: Options, target: Target) -> DrillDocument | None:
    """One drill from its check to its verdict; None if somebody ended it. All is healed. Raises `CommandError`: with
    `Exit.INCONCLUSIVE` if what runs did not come to rest.
    """
    drill = with_rate(drill, options.rate)
    durations = drill.short if options.short else drill.long
    options.out.mkdir(parents=True, exist_ok=True)
    folder = options.out / drill.name
    folder.mkdir(exist_ok=True)
    clock = SystemClock()
    began = clock.wall()
    homes = None if target.topology_file is None else nearest(load(target.topology_file))
    console = output.console(sys.stderr)
    with Summary(console, drill) as summary:
        rehearsal = Rehearsal(
            drill,
            durations,
            target,
            folder,
            clock,
            seed=options.seed,
            without=options.without,
            homes=homes,
            heard=summary.update,
            waits=summary.waits,
        )
        try:
            with _healing_first(rehearsal, console):
                over = await rehearsal.run()
        except (TargetRefused, TrafficFailed, InjectionFailed, HealFailed) as error:
            raise CommandError(str(error)) from error
        except NotCalm as error:
            raise CommandError(str(error), Exit.INCONCLUSIVE) from error
        except asyncio.CancelledError:  # before there was any load
            return None
        if over.course.end is End.INTERRUPTED:
            return None
        document = await _judged(drill, durations, over, options, target, homes, began)
        summary.end(document)
    return document


async def _judged(
    drill: Drill,
    durations: Durations,
    over: Over,
    options: Options,
    target: Target,
    homes: Mapping[str, str] | None,
    began: float,
) -> DrillDocument:
    stopped = over.course.reason if over.course.end is End.ABORTED else ""
    status = await target.status()
    seen = figures(over.record, drill, homes)
    return report.document(
        over.record,
        drill,
        seen,
        judge(seen, over.record, drill, stopped),
        Setting(
            date=datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
            machine=machine(),
            short=options.short,
            durations=durations,
            rate=drill.load.shape.rate,
            topology_digest="" if status is None else status.topology_digest,
            without=options.without,
        ),
    )


def with_rate(drill: Drill, rate: float | None) -> Drill:
    """The drill at another rate; its peak keeps its ratio to that."""
    if rate is None:
        return drill
    shape = drill.load.shape
    peak = None if shape.peak is None else shape.peak * rate / shape.rate
    return replace(drill, load=replace(drill.load, shape=replace(shape, rate=rate, peak=peak)))


@contextmanager
def _healing_first(rehearsal: Rehearsal, console: Console) -> Iterator[None]:
    """Ctrl-C, a lost terminal and SIGTERM end the drill in order: what is broken is healed first."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def told() -> None:
        console.print("Healing what the drill broke, then it ends.")
        rehearsal.interrupt()

    for number in numbers:
        loop.add_signal_handler(number, told)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextmanager
def _locked(paths: RunPaths) -> Iterator[None]:
    try:
        with drill_lock(paths):
            yield
    except DrillRunning as error:
        raise CommandError(str(error)) from error


def deployed(drill: Drill) -> Path:
    """What is deployed elsewhere, as far as anybody here knows: what the drill is for. Raises `CommandError`."""
    file = TOPOLOGIES / f"{drill.topology}.toml"
    if not file.exists():
        raise CommandError(
            f"the drill {drill.name} is for the topology {drill.topology!r}, and {file} is not there to say what its "
            "users find. Nothing was done",
            Exit.USAGE,
        )
    return file


async def _ask_first(drill: Drill, target: Remote, options: Options) -> None:
    """Load on a deployment elsewhere is somebody's money, or somebody's outage. Raises `CommandError`."""
    try:
        await target.check(drill, lambda _: None)
        if options.without:
            await target.do_without(options.without)
    except TargetRefused as error:
        raise CommandError(str(error)) from error
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(
            f"{drill.name} would put load on {target.url}, and there is no terminal to ask on: add --yes if that is "
            "wanted. Nothing was done",
            Exit.USAGE,
        )
    shape = with_rate(drill, options.rate).load.shape
    most = max(shape.rate, shape.peak or 0.0)
    console = output.console(sys.stderr)
    question = f"{drill.name}: up to {most:g} visits a second on {target.url}. Begin? [y/N] "
    answer = console.input(question, markup=False)
    if answer.strip().lower() not in {"y", "yes"}:
        raise CommandError("nothing was done", Exit.INCONCLUSIVE)


def _earlier(options: Options, *, name: str) -> DrillDocument | None:
    """Read before anything begins: a wrong report is better told now. Raises `CommandError`."""
    if options.against is None:
        return None
    try:
        before = report.read(options.against)
        check(before, name)
    except (ReportError, CompareError) as error:
        raise CommandError(str(error), Exit.USAGE) from error
    return before


def keep(document: DrillDocument, comparison: Comparison | None, folder: Path) -> None:
    """Writes the reports, JSON and HTML."""
    report.write(document, folder / f"{document.name}.json")
    (folder / f"{document.name}.html").write_text(page(document, comparison), encoding="utf-8")


def _minutes(durations: Durations) -> str:
    seconds = durations.steady_s + durations.fault_s + durations.recovery_s
    return f"{seconds:.0f} s"
