"""Load by wrk: every connection asks again as soon as it is answered."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench.workbench import BenchError, Running, Workbench, cpu_s

PATH = "/bench/item?n=1"
_HEADERS = ("User-Agent: bench", "Accept: */*")
_SCRIPT = """
done = function(summary, latency, requests)
  local e = summary.errors
  local form = '{"requests": %d, "duration_us": %d, "p50_us": %.1f, "p99_us": %.1f, "errors": %d}'
  io.write(string.format('\\nFIGURES ' .. form .. '\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk against one subject brought."""

    subject: str
    connections: int
    round: int
    requests: int
    errors: int
    requests_per_s: float
    requests_per_cpu_s: float
    p50_us: float
    p99_us: float


class Wrk:
    """The load generator. One thread: on two cores the other one is the subject's."""

    def __init__(self, bench: Workbench) -> None:
        """Raises `BenchError` if wrk is not installed."""
        found = shutil.which("wrk")
        if found is None:
            raise BenchError(
                "wrk is not installed; install it (Debian and Ubuntu: apt-get install wrk) and try again"
            )
        self._wrk = found
        self._script: Path = bench.folder / "figures.lua"
        self._script.write_text(_SCRIPT)

    def run(
        self, subject: Running, connections: int, seconds: float, *, turn: int = 0, path: str = PATH
    ) -> Load:
        """Asks one subject for `seconds`."""
        before = cpu_s(subject.pid)
        headers = [part for header in _HEADERS for part in ("-H", header)]
        url = f"http://127.0.0.1:{subject.port}{path}"
        command = [
            self._wrk,
            "-t1",
            f"-c{connections}",
            f"-d{seconds:.0f}s",
            "-s",
            str(self._script),
            *headers,
            url,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        used = cpu_s(subject.pid) - before
        for line in done.stdout.splitlines():
            if line.startswith("FIGURES "):
                return _load(json.loads(line.removeprefix("FIGURES ")), used, subject.name, connections, turn)
        raise BenchError(f"wrk against {subject.name} failed: {done.stdout}{done.stderr}")


def _load(told: dict[str, float], used_s: float, subject: str, connections: int, turn: int) -> Load:
    requests = int(told["requests"])
    return Load(
        subject=subject,
        connections=connections,
        round=turn,
        requests=requests,
        errors=int(told["errors"]),
        requests_per_s=requests / (told["duration_us"] / 1e6),
        requests_per_cpu_s=requests / used_s if used_s else 0.0,
        p50_us=told["p50_us"],
        p99_us=told["p99_us"],
    )
