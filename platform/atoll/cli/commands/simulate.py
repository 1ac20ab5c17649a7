"""Runs a scenario, or thousands that are drawn from seeds, on a virtual clock: the gateways' production decisions under
faults, with every invariant checked. Starts nothing and needs nothing that runs.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from atoll.cli import output, topology_file
from atoll.cli.exits import CommandError, Exit
from atoll.simulate.document import ScenarioError, read_scenario
from atoll.simulate.generate import generate
from atoll.simulate.invariants import check
from atoll.simulate.plot import lines, svg
from atoll.simulate.report import (
    SIMULATION,
    SIMULATIONS,
    Phase,
    SeedFailure,
    SimulationDocument,
    SimulationsDocument,
    report,
)
from atoll.simulate.scenario import Scenario
from atoll.simulate.seeds import run_seeds
from atoll.simulate.world import simulate
from atoll.topology import TopologyError

WORLD = Path("infra/topologies/world.toml")
"""What seeds draw their regions from, relative to the folder in which `atoll` is started."""

TOLD_EVERY = 500
"""Seeds between two lines of progress where there is no terminal."""

SHOWN = 20
"""Failing seeds that are told of in words."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", metavar="SCENARIO", nargs="?", type=Path, help="a scenario file")
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        help="the seed of a scenario's chance (0 by default); without a file: the scenario that N draws",
    )
    parser.add_argument("--seeds", metavar="N", type=_count, help="run the scenarios that N seeds draw")
    parser.add_argument("--first", metavar="N", type=int, default=0, help="with --seeds: the first one")
    parser.add_argument(
        "--processes", metavar="N", type=_count, help="with --seeds: as many as processors by default"
    )
    parser.add_argument("--plot", metavar="FILE", type=Path, help="write traffic by region over time, as SVG")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON document, atoll.simulation/1, with --seeds atoll.simulations/1",
    )


def run(arguments: argparse.Namespace) -> Exit:
    if arguments.seeds is not None:
        if arguments.scenario is not None or arguments.seed is not None or arguments.plot is not None:
            raise CommandError(
                "--seeds draws its scenarios: leave out SCENARIO, --seed and --plot", Exit.USAGE
            )
        return _many(arguments)
    if arguments.scenario is not None:
        seed = 0 if arguments.seed is None else arguments.seed
        return _one(_read(arguments.scenario), seed, arguments)
    if arguments.seed is not None:
        return _one(generate(arguments.seed, topology_file.read(_world())), arguments.seed, arguments)
    raise CommandError(
        "name a scenario file (infra/scenarios has some), or --seed N, or --seeds N", Exit.USAGE
    )


def _one(scenario: Scenario, seed: int, arguments: argparse.Namespace) -> Exit:
    record = simulate(scenario, seed)
    document = report(scenario, seed, record, check(scenario, record))
    if arguments.plot is not None:
        _write(arguments.plot, svg(document))
    if arguments.json:
        output.print_json(SIMULATION.dump_json(document, indent=2))
    else:
        _print(document)
    return Exit.SUCCESS if document.passed else Exit.FAILED_VERDICT


def _many(arguments: argparse.Namespace) -> Exit:
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    world = _world()
    topology_file.read(world)  # says what is wrong with it before any process starts
    began = time.monotonic()
    requests = attempts = 0
    outcomes: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    failures: list[SeedFailure] = []
    with _progress() as progress:
        task = progress.add_task("seeds", total=len(seeds), failed=0)
        for result in run_seeds(seeds, world, arguments.processes):
            requests += result.requests
            attempts += result.attempts
            outcomes.update(result.outcomes)
            faults.update(result.faults)
            if result.violations:
                failures.append(SeedFailure(result.seed, result.violations))
            progress.update(task, advance=1, failed=len(failures))
            if progress.disable and progress.tasks[0].completed % TOLD_EVERY == 0:
                done = f"{progress.tasks[0].completed:.0f} of {len(seeds)} seeds, {len(failures)} failed"
                print(done, file=sys.stderr, flush=True)
    document = SimulationsDocument(
        first_seed=seeds.start,
        seeds=len(seeds),
        passed=not failures,
        requests=requests,
        outcomes=dict(sorted(outcomes.items())),
        attempts=attempts,
        faults=dict(sorted(faults.items())),
        seconds=round(time.monotonic() - began, 1),
        failures=tuple(sorted(failures, key=lambda failure: failure.seed)),
    )
    if arguments.json:
        output.print_json(SIMULATIONS.dump_json(document, indent=2))
    else:
        _print_many(document)
    return Exit.SUCCESS if document.passed else Exit.FAILED_VERDICT


def _read(path: Path) -> Scenario:
    try:
        return read_scenario(path)
    except (ScenarioError, TopologyError) as error:
        raise CommandError(str(error), Exit.USAGE) from error


def _world() -> Path:
    if not WORLD.exists():
        raise CommandError(
            f"there is no {WORLD} in {Path.cwd()}: start in the folder of the checkout, seeds draw from it",
            Exit.USAGE,
        )
    return WORLD


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(
            f"--plot {path}: {error.strerror}; name a file in a folder that is there", Exit.USAGE
        ) from error


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return number


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeRemainingColumn(),
        console=output.console(sys.stderr),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


def _print(document: SimulationDocument) -> None:
    console = output.console()
    console.print(f"{document.scenario}: {document.title} (seed {document.seed})")
    console.print(
        f"{document.requests} requests in {document.duration_s:.0f} s, {document.answered} answered, "
        f"{document.attempts} attempts, amplification {document.amplification:.3f}; "
        f"digest {document.digest[:16]}"
    )
    for phase in document.phases:
        console.print()
        console.print(
            f"{phase.name}, {phase.begin_s:.1f} s to {phase.end_s:.1f} s: {phase.requests} requests, "
            f"amplification {phase.amplification:.3f}"
        )
        console.print(_table(phase))
    console.print()
    console.print("Answers by region over time")
    for line in lines(document.traffic):
        console.print(line)
    console.print()
    for expectation in document.expectations:
        verdict = "held" if expectation.held else "NOT HELD"
        console.print(f"{verdict}: {expectation.name} {expectation.measured:.3g}, {expectation.expected}")
    for violation in document.violations[:SHOWN]:
        console.print(f"NOT HELD at {violation.at_s:.2f} s: {violation.invariant}: {violation.detail}")
    if len(document.violations) > SHOWN:
        console.print(f"... and {len(document.violations) - SHOWN} more; --json has all")
    console.print("passed" if document.passed else "FAILED")


def _table(phase: Phase) -> Table:
    rows = output.table(
        "Region",
        "Requests",
        "Answers",
        "Share",
        "Attempts",
        "p50",
        "p99",
        "Errors",
        right=("Requests", "Answers", "Share", "Attempts", "p50", "p99"),
    )
    for figures in phase.regions:
        rows.add_row(
            figures.region,
            str(figures.requests),
            str(figures.answered),
            f"{figures.share:.0%}",
            str(figures.attempts),
            _milliseconds(figures.p50_s),
            _milliseconds(figures.p99_s),
            ", ".join(f"{count} {kind}" for kind, count in figures.errors.items()) or "-",
        )
    return rows


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def _print_many(document: SimulationsDocument) -> None:
    console = output.console()
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in document.outcomes.items())
    faults = ", ".join(f"{count} {kind}" for kind, count in document.faults.items())
    last = document.first_seed + document.seeds - 1
    console.print(
        f"seeds {document.first_seed} to {last} in {document.seconds:g} s: {document.requests} requests ({outcomes}), "
        f"{document.attempts} attempts"
    )
    console.print(f"faults: {faults}")
    for failure in document.failures[:SHOWN]:
        first = failure.violations[0]
        console.print(
            f"seed {failure.seed}: {first.invariant}, {len(failure.violations)} in all: {first.detail}"
        )
        console.print(f"    atoll simulate --seed {failure.seed}")
    if len(document.failures) > SHOWN:
        console.print(f"... and {len(document.failures) - SHOWN} more seeds; --json has all")
    held = document.seeds - len(document.failures)
    console.print(
        f"{held} of {document.seeds} held every invariant: {'passed' if document.passed else 'FAILED'}"
    )
