"""``python -m loadtests.state``: 20,000 acknowledged writes for each level and durability under faults; none is lost.

Exit status: 0 every promise was kept, 1 one was not, 3 the regions can't be run, 4 too few writes were acknowledged in
time to say so.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from loadtests.bench.workbench import machine
from loadtests.state.cells import ROOT, CellsError
from loadtests.state.drill import PROMISES, Result, Settings, drill
from loadtests.state.ledger import Outcome

SCHEMA = "atoll.drill-state/1"
SHOWN = 10
"""Findings of each promise in the document; their number is in it too."""


def document(result: Result) -> dict[str, object]:
    """As it stands in ``build/drills/state.json``."""
    ledger, verdict, settings = result.ledger, result.verdict, result.settings
    status = "failed" if verdict.findings else "passed" if result.complete else "inconclusive"
    return {
        "schema": SCHEMA,
        "verdict": status,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "seed": settings.seed,
        "wanted_writes": settings.writes,
        "clients_a_region": settings.clients,
        "written_s": round(result.written_s, 1),
        "writes": {
            promise: {str(outcome): ledger.outcomes[namespace, outcome] for outcome in Outcome}
            for promise, namespace in PROMISES.items()
        },
        "lost": {promise: verdict.lost.get(namespace, 0) for promise, namespace in PROMISES.items()},
        "excused_by_the_wiped_disk": verdict.excused,
        "counters_known_within_bounds_only": verdict.open_counters,
        "faults": {str(kind): number for kind, number in sorted(result.faults.done.items())},
        "wiped": sorted(result.faults.wiped),
        "equal_after_healing_s": result.final.equal_after_s and round(result.final.equal_after_s, 3),
        "strong_registers_judged": verdict.registers,
        "strong_operations": len(ledger.events),
        "linearizable": not any("linearizable" in finding.promise for finding in verdict.findings),
        "search_steps": verdict.steps,
        "session_checks": dict(ledger.checks),
        "session_violations": sum(finding.promise.startswith("sessions") for finding in verdict.findings),
        "postcards": {
            "kinds": len(ledger.stocked),
            "sold": sum(sale.outcome is Outcome.ACKED for sale in ledger.sales),
            "unknown": sum(sale.outcome is Outcome.UNKNOWN for sale in ledger.sales),
            "oversold": sum("oversold" in finding.promise for finding in verdict.findings),
        },
        "findings": len(verdict.findings),
        "first_findings": {
            promise: [one.detail for one in verdict.findings if one.promise == promise][:SHOWN]
            for promise in sorted({finding.promise for finding in verdict.findings})
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.state", description=__doc__)
    parser.add_argument(
        "--writes", type=int, default=20_000, help="acknowledged, for each level and durability"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the faults and of what clients do")
    parser.add_argument(
        "--within", type=float, default=1800.0, help="seconds after which writing is given up"
    )
    parser.add_argument("--clients", type=int, default=3, help="of each level and durability in each region")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "drills" / "state.json")
    parser.add_argument("--keep", type=Path, help="a folder for files and logs, which stay")
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    settings = Settings(arguments.writes, arguments.seed, arguments.within, arguments.clients)
    try:
        with tempfile.TemporaryDirectory(prefix="atoll-") as folder:
            kept = arguments.keep or Path(folder)
            kept.mkdir(parents=True, exist_ok=True)
            result = asyncio.run(drill(kept, settings))
    except CellsError as error:
        print(error, file=sys.stderr)
        return 3
    found = document(result)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return {"passed": 0, "failed": 1}.get(str(found["verdict"]), 4)


if __name__ == "__main__":
    sys.exit(main())
