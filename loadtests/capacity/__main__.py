"""``python -m loadtests.capacity``: the highest rate at which the objectives hold, on the run of this folder."""

import argparse
import asyncio
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.status import Status

from atoll.cell.client import NotRunning, OperationFailed, connect
from atoll.cell.paths import RunPaths
from atoll.cell.status import RunStatus
from atoll.cli.values import duration, positive
from loadtests.bench.workbench import ROOT, machine
from loadtests.capacity.idle import MachineBusy, check_idle
from loadtests.capacity.objectives import Objectives
from loadtests.capacity.report import Report, Step, show, write
from loadtests.capacity.run import ALONE, SPILL, Settings, search
from loadtests.drills.lock import DrillRunning, drill_lock
from loadtests.drills.traffic import TrafficFailed

_MODES = {"alone": ALONE, "spill": SPILL}


class CapacityError(Exception):
    """There is nothing to measure; says why, and what to do."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m loadtests.capacity", description=__doc__)
    found.add_argument("--region", help="where requests come in; the first with quote by default")
    found.add_argument("--mode", choices=tuple(_MODES), action="append", help="both by default")
    found.add_argument(
        "--p99", type=duration(most_s=60), metavar="DURATION", help="objective; --wait and 1 s by default"
    )
    found.add_argument("--errors", type=float, default=0.001, metavar="SHARE", help="objective")
    found.add_argument(
        "--wait", type=duration(most_s=8), default=8.0, metavar="DURATION", help="of a request at a replica"
    )
    found.add_argument("--start", type=positive, default=8.0, metavar="RATE", help="requests a second")
    found.add_argument("--most", type=positive, default=400.0, metavar="RATE")
    found.add_argument("--settle", type=duration(most_s=600), default=15.0, metavar="DURATION")
    found.add_argument("--measure", type=duration(most_s=600), default=20.0, metavar="DURATION")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--output", type=Path, default=ROOT / "build" / "bench")
    return found


def main() -> int:
    """Exit status 0: a rate was found for each mode; 1: none holds; 2: wrong usage; 3: nothing can be measured."""
    arguments = parser().parse_args()
    if not 0.0 <= arguments.errors < 1.0:
        parser().error(f"--errors is a share from 0 to below 1, not {arguments.errors:g}")
    if arguments.most < arguments.start:
        parser().error(f"--most is below --start: {arguments.most:g} and {arguments.start:g}")
    objectives = Objectives(arguments.p99 or arguments.wait + 1.0, arguments.errors)
    if objectives.p99_s <= arguments.wait:
        parser().error("--p99 is not above --wait: no rate could hold")
    console = Console(stderr=True)
    try:
        report = asyncio.run(_run(arguments, objectives, console))
    except (CapacityError, DrillRunning, MachineBusy, NotRunning, OperationFailed, TrafficFailed) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return 3
    except KeyboardInterrupt:
        return 130
    output = Console()
    show(report, output)
    output.print("written to " + " and ".join(map(str, write(report, arguments.output))), soft_wrap=True)
    return 0 if all(mode.found.rate is not None for mode in report.modes) else 1


async def _run(arguments: argparse.Namespace, objectives: Objectives, console: Console) -> Report:
    paths = RunPaths.below(Path.cwd())
    supervisor = await connect(paths)
    status = await supervisor.status()
    region = _region(status, arguments.region)
    await check_idle(paths)
    settings = Settings(
        arguments.wait, arguments.settle, arguments.measure, arguments.start, arguments.most, arguments.seed
    )
    console.print(
        f"requests come in at {region}; each rate takes {settings.seconds(objectives.p99_s):.0f} s or, where replicas "
        "are added, more, and a search about ten rates",
        highlight=False,
        soft_wrap=True,
    )
    report = Report(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(),
        topology=status.topology,
        topology_digest=status.topology_digest,
        region=region,
        settings={name: getattr(settings, name) for name in Settings.__slots__},
        objectives=objectives,
    )
    with (
        drill_lock(paths),
        tempfile.TemporaryDirectory(prefix="atoll-capacity-") as folder,
        console.status("starting") as line,
    ):
        progress = _Told(console, line, settings.seconds(objectives.p99_s))
        for mode in arguments.mode or _MODES:
            report.modes.append(
                await search(
                    _MODES[mode], supervisor, status, region, objectives, settings, Path(folder), progress
                )
            )
    return report


@dataclass(frozen=True, slots=True)
class _Told:
    """Progress for people: a line for each rate, and in a terminal what is measured now."""

    console: Console
    line: Status
    takes_s: float

    def begins(self, mode: str, rate: float) -> None:
        self.line.update(f"{mode}: {rate:.1f} requests a second, for {self.takes_s:.0f} s or more")

    def ended(self, mode: str, step: Step) -> None:
        self.console.print(f"{mode}: {step.words}", markup=False, highlight=False, soft_wrap=True)


def _region(status: RunStatus, wanted: str | None) -> str:
    """Where requests come in. Raises `CapacityError`."""
    serving = [name for name, region in status.regions.items() if "quote" in region.replicas]
    if not serving:
        raise CapacityError(
            f"no region of {status.topology} runs quote: `atoll up --topology infra/topologies/local.toml` does"
        )
    if wanted is not None and wanted not in serving:
        raise CapacityError(f"no region {wanted!r} runs quote; there are: {', '.join(serving)}")
    if status.faults:
        raise CapacityError("a fault is in force, so this would measure that; `atoll fault heal` first")
    return wanted or serving[0]


if __name__ == "__main__":
    sys.exit(main())
