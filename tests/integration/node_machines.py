"""Machines of several regions on this one: each has an address of its own on loopback, and with it all the ports.

Roles are real processes of `atoll node`, and whoever waits for them is told as systemd is.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from tests.integration.plain import NO_AUTHORITIES
from tests.tls_files import Signer, write_tls

from atoll.topology.wiring import write_private

DOMAIN = "atoll.test"
START_S = 60.0
END_S = 60.0
"""As long as systemd gives a worker, which lets go of its replicas first."""
PLACES = {
    "us-east": ("Virginia", 38.95, -77.45, "us"),
    "eu-west": ("Ireland", 53.35, -6.26, "eu"),
    "ap-northeast": ("Tokyo", 35.68, 139.69, "apac"),
}
SECRETS = (
    "ray-token", "gcs-password", "cache-password", "state-password", "admin-token", "agent-token", "peer-token",
    "session-key",
)  # fmt: skip


async def eventually(look: Callable[[], Awaitable[bool]], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not await look():
            await asyncio.sleep(0.1)


def addresses(count: int) -> list[str]:
    """Nobody else's on this machine: a network of its own for each test process."""
    number = os.getpid()
    return [f"127.{64 + number % 128}.{number // 128 % 256}.{last}" for last in range(1, count + 1)]


@dataclass(eq=False)
class Machine:
    """One machine: its files, and the roles that run on it."""

    region: str
    address: str
    folder: Path
    topology: Path
    ports: str = ""
    roles: dict[str, "Running"] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "node.toml"

    @property
    def secrets(self) -> Path:
        return self.folder.parent / f"secrets-{self.region}"

    def write(self, gateway: str, *extra: str) -> None:
        self.folder.mkdir()
        lines = [
            'schema = "atoll.node/1"',
            f'region = "{self.region}"',
            f'address = "{self.address}"',
            f'topology = "{self.topology}"',
            f'secrets = "{self.secrets}"',
            f'data = "{self.folder / "data"}"',
            f'run = "{self.folder / "run"}"',
            f'gateway = "{gateway}"',
            f'domain = "{DOMAIN}"',
            *extra,
        ]
        self.config.write_text("\n".join(lines) + "\n" + self.ports)

    def token(self, name: str) -> str:
        return (self.secrets / name).read_text()

    async def ask(self, path: str, *, port: int = 8080, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, verify=NO_AUTHORITIES, timeout=10.0) as client:
            return await client.get(
                f"http://{self.address}:{port}{path}",
                headers={name.replace("_", "-"): value for name, value in headers.items()},
            )

    async def view(self) -> dict[str, object]:
        """What the gateway says of everything."""
        answer = await self.ask("/-/regions", port=9901, authorization=f"Bearer {self.token('admin-token')}")
        found: dict[str, object] = json.loads(answer.content)
        return found

    async def atoll(self, *words: str) -> tuple[int, str]:
        """Runs a command of the machine's operator; its exit status and what it said."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "atoll.cli", "node", *words, "--config", str(self.config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()


@dataclass
class Running:
    """A role that runs."""

    role: str
    process: asyncio.subprocess.Process
    log: Path
    messages: list[str] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self, told: socket.socket) -> None:
        """As systemd does."""
        while True:
            self.messages.append((await asyncio.get_running_loop().sock_recv(told, 4096)).decode())
            self.heard.set()

    async def until(self, message: str, timeout_s: float = START_S) -> None:
        """Returns when systemd would have heard it."""
        async with asyncio.timeout(timeout_s):
            while not any(message in known for known in self.messages):
                self.heard.clear()
                ended = asyncio.ensure_future(self.process.wait())
                heard = asyncio.ensure_future(self.heard.wait())
                await asyncio.wait((ended, heard), return_when=asyncio.FIRST_COMPLETED)
                heard.cancel()
                if ended.done() and not self.heard.is_set():
                    raise AssertionError(f"{self.role} has ended: {self.log.read_text()[-3000:]}")

    def children(self) -> list[psutil.Process]:
        """All that it has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    async def end(self) -> int:
        """As systemd ends it."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(END_S):
            return await self.process.wait()


@asynccontextmanager
async def running(machine: Machine, *roles: str) -> AsyncIterator[None]:
    """Starts roles side by side, each ready when the block begins, and ends them so."""
    async with AsyncExitStack() as stack:
        for role in roles:
            machine.roles[role] = await stack.enter_async_context(start(machine, role))
        await asyncio.gather(*(machine.roles[role].until("READY=1") for role in roles))
        yield
        await asyncio.gather(*(machine.roles[role].end() for role in roles))


@asynccontextmanager
async def start(
    machine: Machine, role: str, *, environment: dict[str, str] | None = None
) -> AsyncIterator[Running]:
    """Starts a role, as a unit of ``Type=notify``; it is ended with the block."""
    where = machine.folder / f"{role}.notify"
    where.unlink(missing_ok=True)
    log = machine.folder / f"{role}.log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, log.open("ab") as output:
        told.bind(str(where))
        told.setblocking(False)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "atoll.cli", "node", role, "--config", str(machine.config)),
            env={
                **os.environ,
                "NOTIFY_SOCKET": str(where),
                "WATCHDOG_USEC": "1000000",
                **(environment or {}),
            },
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        one = Running(role, process, log)
        listening = asyncio.create_task(one.listen(told))
        try:
            yield one
        finally:
            listening.cancel()
            try:
                await one.end()
            except TimeoutError:
                process.kill()
                raise


def write_secrets(folder: Path, regions: Sequence[str]) -> None:
    """What Secrets Manager would have: shared ones alike in all regions, the others each its own."""
    for region in regions:
        secrets = folder / f"secrets-{region}"
        secrets.mkdir(mode=0o700)
        for name in SECRETS:
            shared = name in {"agent-token", "peer-token", "session-key", "admin-token"}
            write_private(secrets / name, f"{name}-of-{'all' if shared else region}-regions".encode())


def write_certificates(folder: Path, regions: Sequence[str]) -> None:
    """Of one authority, a certificate a region."""
    signer = Signer.new(DOMAIN)
    for region in regions:
        write_tls(folder / f"secrets-{region}" / "tls", signer.issue(region), signer.certificate)


def topology(places: dict[str, str], services: str, revision: int = 1) -> str:
    """Regions, each with all of its addresses on one machine: name -> address."""
    zones: dict[str, str] = {"us": "US", "eu": "IE", "apac": "JP"}
    used = {PLACES[name][3] for name in places}
    parts = [f'schema = "atoll.topology/1"\nname = "machines"\nrevision = {revision}\n']
    parts += [
        f'[zones.{zone}]\ncountries = ["{country}"]\n' for zone, country in zones.items() if zone in used
    ]
    for name, address in places.items():
        title, latitude, longitude, zone = PLACES[name]
        parts.append(
            f'[regions.{name}]\ntitle = "{title}"\nlatitude = {latitude}\nlongitude = {longitude}\nzone = "{zone}"\n'
            f'[regions.{name}.addresses]\npublic = "http://{address}:8080"\ngateways = "{address}:8443"\n'
            f'agent = "{address}:8444"\nhead = "{address}"\n'
            f'[regions.{name}.stores]\ncache = "redis://{address}:6379"\nstate = "redis://{address}:6378"\n'
        )
    names = list(places)
    parts += [
        f'[[links]]\nbetween = ["{a}", "{b}"]\nrtt_ms = 5\n'
        for index, a in enumerate(names)
        for b in names[index + 1 :]
    ]
    return "".join(parts) + services
