"""The users' process: how it is started, what it has written since one looked last, and how it ends."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from atoll.cell.reaper import die_with_parent
from loadtests.drills.record import REQUEST, Request, Way
from loadtests.drills.scenario import Load
from loadtests.users.recorder import began_file

ROOT = Path(__file__).parents[2]
LOCUSTFILE = ROOT / "loadtests" / "shop.py"
END_S = 15.0
"""How long it may take to end after it was told to."""
POLL_S = 0.1
START_S = 90.0
"""Until its load begins: it reads cities and stocks the shop, on a machine that may be busy."""
SPARE_S = 600.0
"""It is told when to stop: heals may take longer than planned."""
TAIL_LINES = 15
SALE_STOCK = 50
"""How many there are of what a flash sale sells; the audit counts them."""


class TrafficFailed(Exception):
    """The users' process did not start, or ended; says what it said last."""


def command(
    load: Load, url: str, topology: Path | None, requests: Path, seconds: float, seed: int
) -> list[str]:
    """The command line of the users' process. Pure."""
    shape = load.shape
    values: dict[str, object] = {
        "host": url,
        "topology": topology,
        "requests": requests,
        "run-seconds": f"{seconds:g}",
        "seed": seed,
        "way": "both" if set(load.ways) == set(Way) else load.ways[0].value,
        "shape": shape.kind.value,
        "rate": f"{shape.rate:g}",
        "peak": shape.peak,
        "at": shape.at_s,
        "for": shape.for_s,
        "period": shape.period_s,
        "country": shape.country,
        "journey": load.journey,
        "think": f"{load.think_s:g}",
        "wait-ms": f"{load.wait_ms:g}",
        "fails": f"{load.fails:g}" if load.fails else None,
        "countries": ",".join(load.countries) or None,
        "services": ",".join(load.services) or None,
        "sale-stock": SALE_STOCK,
        "timeout": None if load.timeout_s is None else f"{load.timeout_s:g}",
        "client-retries": load.client_retries or None,
    }
    named = [
        part for name, value in values.items() if value is not None for part in (f"--{name}", str(value))
    ]
    return [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", *named]


class Follower:
    """Reads what is appended to a file of requests, whole lines alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._rest = b""

    def take(self) -> Iterator[Request]:
        """What came since the last call. Raises `TrafficFailed` for a line that is no request."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        self._read += len(text)
        *lines, self._rest = (self._rest + text).split(b"\n")
        for line in lines:
            try:
                yield REQUEST.validate_json(line)
            except ValidationError as error:
                raise TrafficFailed(f"{self._path} has a line that is no request: {line[:200]!r}") from error


class Traffic:
    """One users' process. Use it as a context manager: it has ended when that is left."""

    def __init__(
        self, load: Load, url: str, topology: Path | None, folder: Path, seconds: float, seed: int
    ) -> None:
        """`folder` gets its requests and what it says."""
        self._requests = folder.resolve() / "requests.jsonl"
        self._said = folder / "users.log"
        for left in (self._requests, began_file(self._requests)):
            left.unlink(missing_ok=True)
        self._command = command(load, url, topology, self._requests, seconds + SPARE_S, seed)
        self._follower = Follower(self._requests)
        self._process: asyncio.subprocess.Process | None = None
        self._begin_s: float | None = None

    async def __aenter__(self) -> Self:
        """Returns when the load has begun. Raises `TrafficFailed`."""
        with self._said.open("wb") as output:
            # A session of its own: Ctrl-C on the terminal is for the drill alone, which heals before it ends the load.
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent(),
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        try:
            async with asyncio.timeout(START_S):
                while (begin_s := self._began()) is None:
                    self.check()
                    await asyncio.sleep(POLL_S)
                self._begin_s = begin_s
        except TimeoutError as error:
            await self.end()
            raise TrafficFailed(
                f"the load has not begun within {START_S:.0f} s; {self._last_words()}"
            ) from error
        except BaseException:
            await self.end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    @property
    def begin_s(self) -> float:
        """When the load began: its shape counts from here."""
        assert self._begin_s is not None, "it has been entered"
        return self._begin_s

    def _began(self) -> float | None:
        file = began_file(self._requests)
        text = file.read_text() if file.exists() else ""
        return float(text) if text else None

    def check(self) -> None:
        """Raises `TrafficFailed` if the process has ended by itself."""
        if self._process is not None and self._process.returncode is not None:
            raise TrafficFailed(
                f"the users' process ended with status {self._process.returncode}; {self._last_words()}"
            )

    def take(self) -> list[Request]:
        """The requests that ended since the last call. Raises `TrafficFailed`."""
        return list(self._follower.take())

    async def end(self) -> None:
        """Tells the process to end and returns when it has; what it wrote last can be taken then."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_S):
                    await process.wait()
                    return

    def _last_words(self) -> str:
        lines = self._said.read_text(errors="replace").splitlines() if self._said.exists() else []
        return f"the end of {self._said}:\n" + "\n".join(lines[-TAIL_LINES:])
