"""Runs of Atoll on real Ray clusters, each in a folder and a block of ports of its own, and load on them.

A run's folder is a checkout in miniature: links to this checkout's files, with an `.atoll/` of its own.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.plain import NO_AUTHORITIES
from tests.integration.ports import free_base

from atoll.cell.client import SupervisorClient
from atoll.cell.facts import is_locked
from atoll.cell.paths import RunPaths
from atoll.cell.status import RUN_STATUS, RegionState
from loadtests.drills.processor import Processor
from loadtests.drills.verdict import TOO_BUSY

ROOT = Path(__file__).parents[3]
PLACES = {"us": "52.86.10.20", "ie": "87.32.10.1", "jp": "133.11.0.10"}
"""Addresses that the embedded country data knows to be in Virginia's, Ireland's and Japan's country."""


@dataclass(slots=True)
class Run:
    """One run: `atoll` is called in its folder with its ports."""

    folder: Path
    base: int

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "ATOLL_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        return {**kept, "PATH": path, "ATOLL_PORT_BASE": str(self.base), "COLUMNS": "160"}

    @property
    def entry(self) -> str:
        return f"http://127.0.0.1:{self.base}"

    def atoll(self, *arguments: str, within_s: float = 400.0) -> "subprocess.CompletedProcess[str]":
        """Runs one command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "atoll.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def must(self, *arguments: str, within_s: float = 400.0) -> str:
        """As `atoll`, for a command that has to succeed; what it printed."""
        done = self.atoll(*arguments, within_s=within_s)
        assert done.returncode == 0, f"atoll {' '.join(arguments)}: {done.stdout}{done.stderr}{self.logs()}"
        return done.stdout

    @property
    def paths(self) -> RunPaths:
        return RunPaths(self.folder / ".atoll")

    def is_running(self) -> bool:
        return is_locked(self.paths)

    def status(self) -> Any:
        """What `atoll status --json` prints, without memory: who asks often leaves the processor to the regions."""
        return json.loads(
            RUN_STATUS.dump_json(asyncio.run(SupervisorClient(self.paths).status(memory=False)))
        )

    def be_whole(self) -> None:
        """Ends every fault, and waits until all regions are ready and trusted by all."""
        asyncio.run(SupervisorClient(self.paths).heal())
        self.until(self._is_whole, 300, "all regions ready and trusted by all")

    def _is_whole(self) -> bool:
        regions = asyncio.run(SupervisorClient(self.paths).status(memory=False)).regions.values()
        return all(
            region.state is RegionState.READY and set(region.health.values()) == {"healthy"}
            for region in regions
        )

    def ask(self, path: str, place: str, **headers: str) -> httpx.Response:
        """One GET through the entry, for a client at a place."""
        with httpx.Client(trust_env=False, verify=NO_AUTHORITIES, timeout=20.0) as http:
            return http.get(
                self.entry + path, headers={"X-Forwarded-For": PLACES.get(place, place), **headers}
            )

    def until(self, condition: "Any", within_s: float, what: str) -> float:
        """Waits until something is so; the seconds that it took. Fails the test if that takes too long."""
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < within_s, f"not within {within_s} s: {what}{self.logs()}"
            time.sleep(0.1)
        return time.monotonic() - started

    def readme(self) -> list[str]:
        """The commands that the README shows, line by line."""
        blocks = re.findall(r"```sh\n(.*?)```", (self.folder / "README.md").read_text(), re.DOTALL)
        return [line for block in blocks for line in block.splitlines() if line]

    def marked(self) -> list[str]:
        """Processes that this run's folder has to answer for, by what Linux says of every process."""
        found = []
        for process in Path("/proc").iterdir():
            if not process.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                mine = str(self.folder).encode()
                command = (process / "cmdline").read_bytes()
                if mine in command or mine in (process / "environ").read_bytes():
                    found.append(
                        f"{process.name} {command[:120].replace(bytes(1), b' ').decode(errors='replace')}"
                    )
        return found

    def logs(self) -> str:
        """The ends of the run's logs, for a failed test."""
        folder = self.folder / ".atoll" / "log"
        ends = []
        for path in sorted(folder.rglob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-6:]
            ends.append(f"\n--- {path.relative_to(folder)}\n" + "\n".join(line[:300] for line in lines))
        return "".join(ends)


@contextlib.contextmanager
def checkout(folder: Path, blocks: int = 6) -> Iterator[Run]:
    """A folder to run Atoll in; nothing of it is left afterwards."""
    for name in (
        "platform",
        "gateway",
        "services",
        "Makefile",
        "pyproject.toml",
        "constraints.txt",
        "README.md",
        ".venv",
    ):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    for name in ("topologies", "scenarios"):
        shutil.copytree(ROOT / "infra" / name, folder / "infra" / name)
    run = Run(folder, free_base(blocks))
    try:
        yield run
    finally:
        run.atoll("down")


@dataclass(frozen=True, slots=True)
class Answer:
    """One request of the load: when it was due, what came of it."""

    due: float
    place: str
    path: str
    status: int
    region: str
    attempts: int
    seconds: float
    detail: str
    criticality: str = "default"
    tried: tuple[str, ...] = ()
    """Regions that an attempt was made in, in order; a hedge counts as well."""


@dataclass(slots=True)
class Load:
    """Requests at a steady rate from every place, whether or not earlier ones were answered (open loop).

    A client keeps its connection, as browsers do; latency counts from when a request was due.
    """

    entry: str
    rate: float
    """Requests a second; may be changed while it runs."""
    requests: tuple[tuple[str, str], ...]
    """Pairs of place and path, in turn."""
    criticalities: tuple[str, ...] = ("default",)
    """Of requests, in turn."""
    answers: list[Answer] = field(default_factory=list)
    busy: float = 0.0
    """Share of the machine that anybody used while it ran."""
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        processor = Processor()
        limits = httpx.Limits(max_connections=400, max_keepalive_connections=60)
        async with (
            httpx.AsyncClient(trust_env=False, verify=NO_AUTHORITIES, timeout=20.0, limits=limits) as http,
            asyncio.TaskGroup() as group,
        ):
            due = time.monotonic()
            number = 0
            while not self._stop.is_set():
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                place, path = self.requests[number % len(self.requests)]
                criticality = self.criticalities[number % len(self.criticalities)]
                group.create_task(self._ask(http, due, place, path, criticality))
                number += 1
                due += 1 / self.rate
        self.busy = processor.busy()

    def stop(self) -> None:
        self._stop.set()

    async def _ask(
        self, http: httpx.AsyncClient, due: float, place: str, path: str, criticality: str
    ) -> None:
        headers = {"X-Forwarded-For": PLACES[place], "Atoll-Criticality": criticality}
        status, region, attempts, detail = 0, "", 0, ""
        tried: list[str] = []
        try:
            response = await http.get(self.entry + path, headers=headers)
            status, region = response.status_code, response.headers.get("atoll-region", "")
            attempts = int(response.headers.get("atoll-attempts", 0))
            tried = re.findall(r'attempt;desc="(\S+) ', response.headers.get("server-timing", ""))
            if status != 200:
                detail = response.text[:400]
        except httpx.HTTPError as error:
            detail = repr(error)
        seconds = time.monotonic() - due
        self.answers.append(
            Answer(due, place, path, status, region, attempts, seconds, detail, criticality, tuple(tried))
        )

    def be_conclusive(self) -> None:
        """Ends a test as inconclusive, as a drill's verdict would be, if the machine was at its end: then it decides
        who serves, and how fast. What has to hold on any machine is looked at before.
        """
        if self.busy > TOO_BUSY:
            pytest.skip(f"inconclusive: {self.busy:.0%} of the machine was in use")

    def failed(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status != 200]

    def slowest(self, since: float, until: float) -> float:
        return max((a.seconds for a in self.answers if since <= a.due <= until), default=0.0)

    def shares(self, since: float, until: float) -> Mapping[str, int]:
        """Answers a region to requests that were due in a span of time."""
        return Counter(answer.region for answer in self.answers if since <= answer.due < until)
