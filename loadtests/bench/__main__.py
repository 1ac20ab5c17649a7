"""``python -m loadtests.bench [PART ...]``: runs benchmarks, prints them and writes ``build/bench/``."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from loadtests.bench import layers
from loadtests.bench.faults import SCENARIOS
from loadtests.bench.figures import ratios, summaries, verdicts
from loadtests.bench.peers import SUBJECTS, haproxy, serve
from loadtests.bench.plot import page
from loadtests.bench.report import Report, show, write_json
from loadtests.bench.rounds import run_rounds
from loadtests.bench.workbench import ROOT, BenchError, machine, workbench
from loadtests.bench.wrk import Wrk

OURS = ("forwarding", "gateway")
PARTS = (*SUBJECTS, "layers", *SCENARIOS, "serve")


def main() -> int:
    """Exit status 0: every aim was reached; 1: one was not; 3: something that is needed is missing."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"what to run; all without one: {', '.join(PARTS)}"
    )
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each run")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench")
    arguments = parser.parse_args()
    parts = list(dict.fromkeys(arguments.parts)) or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    console = Console()
    report = Report(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(),
        settings={"parts": parts, "rounds": arguments.rounds, "seconds": arguments.seconds},
    )
    try:
        if any(part in SUBJECTS for part in parts):
            _load(report, parts, arguments, console)
        if "layers" in parts:
            with workbench() as bench, console.status("layers"):
                report.layers = layers.measure(bench)
        for part in parts:
            if part in SCENARIOS:
                with workbench() as bench, console.status(part) as status:
                    report.faults += SCENARIOS[part](bench, status.update)
        if "serve" in parts:
            _serve(report, arguments, console)
    except BenchError as error:
        console.print(str(error), style="red", markup=False)
        return 3
    show(report, console)
    write_json(report, arguments.output / "gateway.json")
    (arguments.output / "gateway.html").write_text(page(report))
    console.print(f"written to {arguments.output}/gateway.json and gateway.html", soft_wrap=True)
    return 0 if all(verdict.passed for verdict in report.verdicts) else 1


def _load(report: Report, parts: list[str], arguments: argparse.Namespace, console: Console) -> None:
    """The named subjects beside Atoll's two, and the upstream itself."""
    peers = [part for part in parts if part in SUBJECTS and part not in OURS]
    names = [*OURS, *peers] if peers else [part for part in parts if part in OURS]
    with workbench() as bench, console.status("starting") as status:
        upstream = haproxy.upstream(bench)
        subjects = [upstream, *(SUBJECTS[name](bench, upstream.port) for name in names)]
        wrk = Wrk(bench)
        for load in run_rounds(
            wrk, subjects, arguments.connections, arguments.rounds, arguments.seconds, status.update
        ):
            report.loads.append(load)
    report.summaries = summaries(report.loads)
    report.ratios = [ratio for peer in peers for ratio in ratios(report.loads, OURS, peer)]
    report.verdicts += verdicts(report.ratios)


def _serve(report: Report, arguments: argparse.Namespace, console: Console) -> None:
    """A region of Atoll's with Ray Serve in it: its gateway, and Serve's own proxy."""
    with workbench() as bench, console.status("starting Ray") as status, serve.region(bench) as subjects:
        loads = list(
            run_rounds(
                Wrk(bench),
                subjects,
                serve.CONNECTIONS,
                arguments.rounds,
                arguments.seconds,
                status.update,
                serve.PATH,
            )
        )
    report.loads += loads
    report.summaries += summaries(loads)
    found = ratios(loads, [serve.GATEWAY], serve.PROXY)
    report.ratios += found
    report.verdicts += [serve.verdict(found)]


if __name__ == "__main__":
    sys.exit(main())
