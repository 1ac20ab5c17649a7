"""``python -m loadtests.bench.state [PART ...]``: measures the state, prints it, writes ``build/bench/state.json``."""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from atoll.heap import settle_heap
from loadtests.bench.state import memory, operations, replication, strong
from loadtests.bench.state.figures import aims
from loadtests.bench.state.report import Report, show, write_json
from loadtests.bench.workbench import ROOT, BenchError, machine, workbench
from loadtests.state.cells import CellsError, cells

PARTS = ("operations", "memory", "replication", "strong")
KEYS, QUICK_KEYS = 100_000, 10_000
STRONG, QUICK_STRONG = 40, 10


def main() -> int:
    """Exit status 0: every aim was reached; 1: one was not; 3: something that is needed is missing."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.state", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"what to run; all without one: {', '.join(PARTS)}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of it: does it work, not how good is it"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench" / "state.json")
    arguments = parser.parse_args()
    parts = list(dict.fromkeys(arguments.parts)) or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    scale = replication.QUICK if arguments.quick else replication.FULL
    report = Report(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        machine={**machine(), "load before": round(os.getloadavg()[0], 2)},
        settings={
            "parts": parts,
            "quick": arguments.quick,
            "load": f"{scale.per_s:.0f} writes/s in each region",
        },
    )
    console = Console()
    settle_heap()  # else a pause of this process is measured as the regions' lag
    try:
        with console.status("starting") as status:
            asyncio.run(_measure(report, parts, quick=arguments.quick, progress=status.update))
    except (BenchError, CellsError) as error:
        console.print(str(error), style="red", markup=False)
        return 3
    report.machine = {**report.machine, "load after": round(os.getloadavg()[0], 2)}
    report.aims = aims(report.comparisons, report.lag, report.strong)
    show(report, console)
    write_json(report, arguments.output)
    console.print(f"written to {arguments.output}", soft_wrap=True)
    return 0 if report.passed else 1


async def _measure(
    report: Report, parts: Sequence[str], *, quick: bool, progress: Callable[[str], None]
) -> None:
    if "operations" in parts:
        with workbench() as bench:
            scale = operations.QUICK if quick else operations.FULL
            report.comparisons = await operations.measure(bench, scale, progress)
    if "memory" in parts:
        with workbench() as bench:
            report.memory = await memory.measure(bench, QUICK_KEYS if quick else KEYS, progress)
    if {"replication", "strong"} & set(parts):
        progress("starting three regions")
        with tempfile.TemporaryDirectory(prefix="atoll-bench-") as folder:
            async with cells(Path(folder)) as regions:
                if "replication" in parts:
                    size = replication.QUICK if quick else replication.FULL
                    report.lag = await replication.lag(regions, size, progress)
                    report.throughput = await replication.throughput(regions, size, progress)
                if "strong" in parts:
                    report.strong = await strong.measure(regions, QUICK_STRONG if quick else STRONG, progress)


def _commit() -> str:
    """The checkout's, with a + if files differ from it."""
    command = ("git", "-C", str(ROOT), "describe", "--always", "--exclude=*", "--dirty=+")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
