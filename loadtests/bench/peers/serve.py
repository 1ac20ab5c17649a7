"""Ray Serve with its default proxy, and the same application in a region of Atoll's behind its gateway.

Both have one Ray head and the reference service `quote` with one replica. Serve is started as its documentation does,
without any of Atoll's settings. Needs `atoll up`, so it runs in a folder of its own, which links to this checkout.
"""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from atoll.topology.wiring import read_gateway_wiring
from loadtests.bench.figures import Ratio, Verdict
from loadtests.bench.workbench import ROOT, BenchError, Running, Workbench, free_port

GATEWAY, PROXY = "atoll before Serve", "Serve's own proxy"
CONNECTIONS = (1, 8, 32)
PATH = "/quote?from=IE&to=DE"
WANTED = 4.0
_UP_S = 300.0
_SERVE_S = 120.0
_LINKED = (
    "platform",
    "gateway",
    "services",
    "pyproject.toml",
    "constraints.txt",
    "README.md",
    "LICENSE",
    ".venv",
)


@contextlib.contextmanager
def region(bench: Workbench) -> Iterator[Sequence[Running]]:
    """Both, started; nothing of them is left afterwards. Raises `BenchError`."""
    folder = bench.folder / "a"  # Ray's sockets allow only short paths
    folder.mkdir()
    for name in _LINKED:
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "infra" / "topologies", folder / "infra" / "topologies")
    environment = _environment(_free_base())
    try:
        _atoll(folder, environment, "up", "--detach", "--regions", "1")
        yield _gateway(folder), _bare(bench)
    finally:
        _atoll(folder, environment, "down")


def verdict(found: Sequence[Ratio]) -> Verdict:
    """The gateway before Serve against Serve's proxy, by throughput, at the most connections that were measured."""
    most = max(found, key=lambda ratio: ratio.connections)
    return Verdict("gateway to Serve by bare Serve with its default proxy", WANTED, most.throughput)


def _atoll(folder: Path, environment: dict[str, str], *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "atoll.cli", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_UP_S,
        check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"atoll {' '.join(arguments)} failed: {done.stdout}{done.stderr}")


def _gateway(folder: Path) -> Running:
    """The region's gateway: its address stands in its wiring, which also names its process in `/proc`."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "atoll_gateway" in command and str(folder) in (process / "cmdline").read_text(
                errors="replace"
            ):
                wiring = read_gateway_wiring(Path(command[command.index("--wiring") + 1]))
                if wiring.region is not None:
                    return Running(GATEWAY, wiring.public.port, int(process.name))
    raise BenchError(f"no gateway of {folder} runs")


def _bare(bench: Workbench) -> Running:
    port = free_port()
    started = bench.python("serve", port, __name__, str(port), within_s=_SERVE_S)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            mine = b"ATOLL_BENCH=" + str(bench.folder).encode() in (process / "environ").read_bytes()
            if mine and (process / "cmdline").read_bytes().startswith(b"ray::ProxyActor"):
                return Running(PROXY, port, int(process.name))
    return Running(PROXY, port, started.pid)


def _environment(base: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "ATOLL_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "ATOLL_PORT_BASE": str(base)}


def _free_base() -> int:
    """A base from which a run's blocks of ports are free now."""
    for base in random.sample(range(10_000, 28_000, 500), 30):
        with contextlib.suppress(OSError):
            for port in range(base, base + 3000, 25):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return base
    raise BenchError("no block of ports is free; end other runs of Atoll first")


def serve(port: int) -> None:
    """Runs the application on a Ray of its own until it is ended."""
    import ray  # noqa: PLC0415 - takes a second to import, and only this process needs it
    from ray import serve as ray_serve  # noqa: PLC0415

    from atoll_services.quote.app import QuoteSettings, app  # noqa: PLC0415

    ray.init(num_cpus=4, include_dashboard=False)
    ray_serve.start(http_options={"host": "127.0.0.1", "port": port})
    ray_serve.run(app(QuoteSettings()), route_prefix="/quote", blocking=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
