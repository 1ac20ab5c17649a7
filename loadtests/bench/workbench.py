"""Processes of a benchmark, their ports and what they cost."""

import contextlib
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_S = 20.0
"""How long a process may take until it listens."""


class BenchError(Exception):
    """Something that a benchmark needs is not there; says what to do."""


@dataclass(frozen=True, slots=True)
class Running:
    """A started subject: where it listens, and the process that does the work."""

    name: str
    port: int
    pid: int


@dataclass(slots=True)
class Workbench:
    """A folder for configuration and logs, and the processes that end with it."""

    folder: Path
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def spawn(self, name: str, port: int, *command: str, within_s: float = START_S) -> Running:
        """Starts a process and waits until it listens on `port`. Raises `BenchError` with the end of what it said."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=self.folder, stdout=output, stderr=output, env=self._environment()
            )
        self.processes.append(process)
        end = time.monotonic() + within_s
        while not listens(port):
            if process.poll() is not None or time.monotonic() > end:
                said = log.read_text(errors="replace")[-2000:]
                raise BenchError(f"{name} does not listen on port {port}; it said:\n{said}")
            time.sleep(0.05)
        return Running(name, port, process.pid)

    def python(
        self, name: str, port: int, module: str, *arguments: str, within_s: float = START_S
    ) -> Running:
        """As `spawn`, for one of this checkout's modules."""
        return self.spawn(name, port, sys.executable, "-m", module, *arguments, within_s=within_s)

    def close(self) -> None:
        """Ends every process."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _environment(self) -> dict[str, str]:
        paths = (ROOT, ROOT / "platform", ROOT / "gateway", ROOT / "services")
        return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "ATOLL_BENCH": str(self.folder)}


@contextlib.contextmanager
def workbench() -> Iterator[Workbench]:
    """A workbench whose processes and folder are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as folder:
        bench = Workbench(Path(folder))
        try:
            yield bench
        finally:
            bench.close()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine() -> Mapping[str, str | int]:
    """What the figures were measured on."""
    model = "unknown"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "processor": model,
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
