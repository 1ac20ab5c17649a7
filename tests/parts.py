"""``python -m tests.parts unit integration live [-- ...]``: runs parts of the tests, each in the way it needs.

What follows ``--`` goes to every pytest. A part that fails keeps no other from running. The last line sums them up,
and the exit status is pytest's, of the whole: 5 only if no part had anything to run.
"""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

SIDE_BY_SIDE = ("--numprocesses", "logical", "--maxprocesses", "8", "--dist", "worksteal")
PARTS = {
    "unit": (*SIDE_BY_SIDE, "tests/unit"),
    "integration": (*SIDE_BY_SIDE, "tests/integration", "--ignore", "tests/integration/live"),
    "live": ("tests/drills", "tests/integration/live"),
    "infra": (
        "--numprocesses",
        "2",
        "--dist",
        "loadfile",
        "-r",
        "s",
        "-o",
        "faulthandler_timeout=2500",
        "tests/infra",
    ),  # it waits most of the time; what is applied is one fixture, of ten minutes and more
}
REPORTS = Path("build/tests")
RAN = {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED}


def run(part: str, options: Sequence[str]) -> tuple[int, Counter[str]]:
    """The exit status of a part, and its tests by what became of them."""
    report = REPORTS / f"{part}.xml"
    report.unlink(missing_ok=True)
    words = (*PARTS[part], *options)
    print(f"\npytest {' '.join(words)}", flush=True)
    with subprocess.Popen([sys.executable, "-m", "pytest", f"--junitxml={report}", *words]) as tests:
        signal.signal(
            signal.SIGINT, lambda *_: None
        )  # Ctrl-C is for the tests, which then end what they started
        signal.signal(signal.SIGTERM, lambda *_: tests.terminate())
        status = tests.wait()
    return status, counted(report) if report.exists() else Counter()


def counted(report: Path) -> Counter[str]:
    """Tests by what became of them, of a report in JUnit's form."""
    (suite,) = ET.parse(report).getroot()
    told = {"failed": "failures", "skipped": "skipped", "errors": "errors"}
    counts = Counter({kind: int(suite.attrib[name]) for kind, name in told.items()})
    counts["passed"] = int(suite.attrib["tests"]) - counts.total()
    return counts


def whole(statuses: Sequence[int]) -> int:
    """The exit status of all parts together. Pure."""
    bad = [
        status
        for status in statuses
        if status not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    ]
    return bad[-1] if bad else min(statuses)


def main(parts: Sequence[str], options: Sequence[str]) -> int:
    began = time.monotonic()
    statuses: list[int] = []
    counts: Counter[str] = Counter()
    for part in parts:
        status, its = run(part, options)
        statuses.append(status)
        counts += its
        if status not in RAN:  # interrupted, or it could not begin
            break
    told = ", ".join(
        f"{counts[kind]} {kind}" for kind in ("failed", "passed", "skipped", "errors") if counts[kind]
    )
    seconds = time.monotonic() - began
    line = f" {told or 'no tests ran'} in {seconds:.2f}s ({timedelta(seconds=int(seconds))}) "
    print(f"\n{line:=^80}", flush=True)
    return whole(statuses)


if __name__ == "__main__":
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    sys.exit(main(sys.argv[1:split], sys.argv[split + 1 :]))
