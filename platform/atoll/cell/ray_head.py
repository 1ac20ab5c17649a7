"""One Ray head, with Ray Serve's REST interface, for one region; or another node that joins it.

``ray start --block`` ends the whole head when any of its processes dies, the dashboard included. So the head
is started without it: ``ray start`` leaves its processes behind, this process (a subreaper, see `reaper`)
adopts them, and `RayHead` watches them one by one. A dead dashboard is started again alone with the arguments
and environment it had; replicas serve on meanwhile. Without its GCS or raylet a head is lost and must be
started anew. A node that joins a head has a raylet alone.

Written for Ray 2.60 and Linux.
"""

import asyncio
import contextlib
import enum
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from atoll.cell import processes
from atoll.cell.paths import RAY_PATH_LIMIT
from atoll.cell.processes import REGION_VARIABLE, RUN_VARIABLE, MarkedProcess, ProcessId
from atoll.cell.ray_start_hook import GCS_PASSWORD_VARIABLE
from atoll.cell.turns import turn
from atoll.topology.wiring import Address

_MIN_OBJECT_STORE_BYTES = 75 * 1024 * 1024  # ray_constants.OBJECT_STORE_MINIMUM_MEMORY_BYTES
_POLL_S = 0.1
_TAIL_LINES = 30
NODE_ID = "--node_id="
DRAIN_TOLD_S = 15.0
"""The command takes a second or two to start, and waits for minutes if nobody answers."""
LOOPBACK = "127.0.0.1"
_SOURCE_ROOT = Path(__file__).resolve().parents[2]  # where `import atoll` is found


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from `first` to `last`, both included."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 1024 <= self.first < self.last <= 65535:
            raise ValueError(f"port range {self.first}-{self.last}: use 1024 <= first < last <= 65535")


@dataclass(frozen=True, slots=True)
class GcsStore:
    """Where a head keeps what its cluster is, so that one that starts anew goes on with it."""

    address: Address
    password_file: Path


@dataclass(frozen=True, slots=True)
class RayPorts:
    """Every port that one node listens on, but one that Ray 2.60 leaves no choice about.

    That one: each replica's server for calls between deployments, on a free port chosen by the kernel.
    """

    gcs: int
    dashboard: int
    dashboard_agent_http: int
    dashboard_agent_grpc: int
    metrics_export: int
    runtime_env_agent: int
    dashboard_metrics: int
    node_manager: int
    object_manager: int
    serve_http: int
    """Serve's own proxy. Serve takes it from ``http_options.port`` of the first PUT."""
    serve_grpc: int
    """Serve takes it from ``grpc_options.port`` of the first PUT."""
    workers: PortRange
    """One a worker process: replicas, Serve's controller and proxy, and the dashboard's own driver."""
    ingress_http: PortRange
    """Direct ingress: one a replica."""
    ingress_grpc: PortRange


@dataclass(frozen=True, slots=True)
class RayHeadSettings:
    """How one head, or a node that joins one, runs.

    `environment` is all that it gets of its starter's: ``PATH``, ``HOME``, ``PYTHONPATH`` with the services,
    and flags of Ray and Serve that are to differ from what `ray_environment` sets. Ports, authentication and
    marks cannot be set there.
    """

    region: str
    run: str
    """The run's mark, the value of ``ATOLL_RUN``."""
    ports: RayPorts
    temp_dir: Path
    """Ray's sessions, logs and sockets; an absolute path of at most `paths.RAY_PATH_LIMIT` bytes."""
    token_file: Path
    """Holds the cluster's token; must be readable by its owner alone."""
    num_cpus: int = 4
    """What Ray may hand out, not what there is: replicas that mostly wait ask for parts of one."""
    object_store_bytes: int = 100_000_000
    start_turn: Path | None = None
    """A file of those who start heads one after the other: Ray gives each 30 s to come up, and no way to give it more,
    which several at once on two cores may exceed. None: nobody else starts one on this machine.
    """
    environment: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.executable
    address: str = LOOPBACK
    """This machine's, where others find the node."""
    head: str | None = None
    """The host of the head that this node joins; None: it is the head."""
    gcs_store: GcsStore | None = None
    """None: the cluster ends with its head."""
    absence_s: int = 60
    """How long a node and its replicas go on without their head; Ray's default."""

    def __post_init__(self) -> None:
        length = len(os.fsencode(self.temp_dir))
        if not self.temp_dir.is_absolute() or length > RAY_PATH_LIMIT:
            raise ValueError(
                f"region {self.region}: Ray's folder {self.temp_dir} must be an absolute path of at most "
                f"{RAY_PATH_LIMIT} bytes (it has {length}), or Ray's sockets don't fit; "
                "choose a shorter run folder"
            )
        if self.object_store_bytes < _MIN_OBJECT_STORE_BYTES:
            raise ValueError(
                f"region {self.region}: Ray's object store needs at least {_MIN_OBJECT_STORE_BYTES} bytes"
            )
        if self.num_cpus < 0:
            raise ValueError(f"region {self.region}: num_cpus is {self.num_cpus}; use 0 or more")
        if "RAY_ADDRESS" in self.environment:
            raise ValueError(
                f"region {self.region}: RAY_ADDRESS would lead the head to another cluster; unset it"
            )


def ray_environment(settings: RayHeadSettings) -> dict[str, str]:
    """The environment of ``ray start``, inherited by every process of the head. Pure.

    Serve reads its flags in the worker processes, so they can only be set here, not in a deployment.
    """
    ports = settings.ports
    tunable = {
        # A replica that is to go drains until gateways, which ask every 1-2 s, have stopped using it. Serve's
        # default is 30 s.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "5",
        # User code runs in the replica's own event loop: 1.4 times the requests one after another, 1.2 times
        # with 16 at once. The price: `async def` code that blocks, blocks the replica's health check too
        # (`def` code runs in threads). Of Serve's other "throughput optimised" flags none made a difference,
        # and one of them, buffered logs, makes log lines arrive late.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        # Autoscaling sees load after 0.5 s. Serve's default is 10 s.
        "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
        "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
        # Several heads that start at once on two cores are slow, not broken. Serve's default is 5 s.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        # Memory: no workers ahead of need. With them Ray keeps up to `num_cpus` idle ones, 45 MiB each.
        "RAY_prestart_worker_first_driver": "0",
        "RAY_enable_worker_prestart": "0",
    }
    optional: dict[str, str] = {}
    if settings.address == LOOPBACK:
        # Reachable from this machine alone. The name misleads: it is what makes Ray use 127.0.0.1 as the
        # node's address. `--node-ip-address=127.0.0.1` does not: Ray replaces it by an outward address.
        optional["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if settings.gcs_store is not None:
        optional["RAY_REDIS_ADDRESS"] = str(settings.gcs_store.address)
        optional["RAY_external_storage_namespace"] = settings.region
        optional[GCS_PASSWORD_VARIABLE] = str(settings.gcs_store.password_file)
    python_path = [str(_SOURCE_ROOT), settings.environment.get("PYTHONPATH", "")]
    fixed = {
        **optional,
        "RAY_gcs_rpc_server_reconnect_timeout_s": str(settings.absence_s),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(settings.token_file),
        "RAY_USAGE_STATS_ENABLED": "0",
        # A taken port must be an error: with SO_REUSEPORT two regions would share their clients silently.
        "SERVE_SOCKET_REUSE_PORT_ENABLED": "0",
        "DASHBOARD_METRIC_PORT": str(ports.dashboard_metrics),
        # Clients reach replicas straight, without Serve's proxy and without HAProxy.
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "1",
        "RAY_SERVE_ENABLE_HA_PROXY": "0",
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ports.ingress_http.first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ports.ingress_http.last),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(ports.ingress_grpc.first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(ports.ingress_grpc.last),
        "RAY_START_HOOK": "atoll.cell.ray_start_hook.as_atoll_wants",
        "RAY_NODE_REGION": settings.region,
        "PYTHONPATH": os.pathsep.join(part for part in python_path if part),
        RUN_VARIABLE: settings.run,
        REGION_VARIABLE: settings.region,
    }
    return {**tunable, **settings.environment, **fixed}


def ray_command(settings: RayHeadSettings) -> list[str]:
    """The command line that starts the node and returns. Pure."""
    ports = settings.ports
    placed = [] if settings.address == LOOPBACK else [f"--node-ip-address={settings.address}"]
    return [
        settings.python,
        "-u",  # what it has said is in the log even if it hangs
        "-m",
        "ray.scripts.scripts",
        "start",
        *(_as_head(settings) if settings.head is None else _as_member(settings, settings.head)),
        *placed,
        f"--dashboard-agent-listen-port={ports.dashboard_agent_http}",
        f"--dashboard-agent-grpc-port={ports.dashboard_agent_grpc}",
        f"--metrics-export-port={ports.metrics_export}",
        f"--runtime-env-agent-port={ports.runtime_env_agent}",
        f"--node-manager-port={ports.node_manager}",
        f"--object-manager-port={ports.object_manager}",
        f"--min-worker-port={ports.workers.first}",
        f"--max-worker-port={ports.workers.last}",
        f"--num-cpus={settings.num_cpus}",
        f"--object-store-memory={settings.object_store_bytes}",
        "--include-log-monitor=false",  # it copies worker logs to drivers; a region has none to read them
        "--disable-usage-stats",
        "--log-style=record",
        "--log-color=false",
    ]


def _as_head(settings: RayHeadSettings) -> list[str]:
    return [
        "--head",
        f"--node-name={settings.region}",
        f"--port={settings.ports.gcs}",
        f"--dashboard-host={settings.address}",
        f"--dashboard-port={settings.ports.dashboard}",
        f"--temp-dir={settings.temp_dir}",
        "--no-monitor",  # Ray's cluster autoscaler: machines are somebody else's to add
    ]


def _as_member(settings: RayHeadSettings, head: str) -> list[str]:
    return [
        f"--address={Address(head, settings.ports.gcs)}",
        f"--node-name={settings.region}/{settings.address}",
        f"--temp-dir={settings.temp_dir}",
    ]


class RayRole(enum.Enum):
    """What ``ray start`` leaves behind; on a node that joins a head, the raylet alone. Agents and workers are the
    raylet's, and end with it.
    """

    GCS = "gcs_server"
    RAYLET = "raylet"
    DASHBOARD = "dashboard"

    @property
    def essential(self) -> bool:
        """Whether the head is lost without it. The data plane does not need the dashboard."""
        return self is not RayRole.DASHBOARD


@dataclass(frozen=True, slots=True)
class RayProcess:
    """One of the head's own processes."""

    role: RayRole
    identity: ProcessId


@dataclass(frozen=True, slots=True)
class RayProcessDied:
    """A process ended that nobody asked to. If its role is essential, start the whole head anew."""

    process: RayProcess


class RayStartError(RuntimeError):
    """The head did not come up, for the reason told; `output` is the end of what Ray itself said."""

    def __init__(self, region: str, reason: str, output: str) -> None:
        super().__init__(f"region {region}: Ray did not start: {reason}\nWhat Ray said last:\n{output}")
        self.region = region
        self.reason = reason
        self.output = output


class RayHead:
    """One region's Ray head: `start` it, read `watch` beside it, `stop` it; then it may be started again.

    The caller must have called `reaper.become_subreaper` and run `reaper.reap_adopted`.
    """

    def __init__(self, settings: RayHeadSettings) -> None:
        self._settings = settings
        self._processes: dict[RayRole, RayProcess] = {}
        self._watchers: dict[RayRole, asyncio.Task[None]] = {}
        self._deaths: asyncio.Queue[RayProcessDied] = asyncio.Queue()
        self._sessions: set[int] = set()
        self._dashboard_command: tuple[str, ...] = ()

    @property
    def settings(self) -> RayHeadSettings:
        return self._settings

    @property
    def processes(self) -> tuple[RayProcess, ...]:
        """The head's own processes, as last started; see `running` for all that belongs to it."""
        return tuple(self._processes.values())

    def running(self) -> list[MarkedProcess]:
        """All that runs of this head: its own processes, agents, workers, replicas, dashboard helpers."""
        marked = processes.find_marked(self._settings.run, self._settings.region, self._sessions)
        return [process for process in marked if process.session in self._sessions]

    @property
    def node_id(self) -> str | None:
        """By which the cluster knows this node; None while it doesn't run."""
        for process in self.running():
            if _role_of(process.command) is RayRole.RAYLET:
                found = (part.removeprefix(NODE_ID) for part in process.command if part.startswith(NODE_ID))
                return next(found, None)
        return None

    async def drain(self, deadline_s: float) -> bool:
        """Has a node that joined a head give its replicas up, which start elsewhere first; returns when it has ended by
        itself, or after the deadline, when Ray ends what is left. Whether the head took it up.

        By Ray's hidden command, whose form no version promises; written for Ray 2.60.
        """
        settings, node = self._settings, self.node_id
        assert settings.head is not None
        if node is None:
            return True
        told = await asyncio.create_subprocess_exec(
            *(settings.python, "-m", "ray.scripts.scripts", "drain-node"),
            *("--address", str(Address(settings.head, settings.ports.gcs)), "--node-id", node),
            # The other reason, idle termination, is refused while replicas run.
            *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the machine is about to end"),
            *("--deadline-remaining-seconds", str(round(deadline_s))),
            env=ray_environment(settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = b"no answer in time"
        try:
            async with asyncio.timeout(min(deadline_s, DRAIN_TOLD_S)):
                output, _ = await told.communicate()
        except TimeoutError:  # there is no head to tell
            told.kill()
            await told.wait()
        if told.returncode != 0:
            log.error(
                "the head does not drain this node", extra={"ray": output.decode(errors="replace")[-1000:]}
            )
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                for raylet in self._known(RayRole.RAYLET):
                    await processes.wait_gone(raylet.identity)
        return True

    async def start(self, timeout_s: float = 180.0) -> None:
        """Starts the head, when it is its turn; returns when Ray and the Serve REST interface answer. A node that joins
        a head is there when `ray start` has ended.

        Each of the two may take `timeout_s`: 20 s on an idle machine, over 90 s beside three regions on a slow one.

        On failure or cancellation nothing that it started is left. Raises `RayStartError`.
        """
        if self._sessions:
            raise RuntimeError(
                f"region {self._settings.region}: the Ray head was started already; stop it first"
            )
        self._settings.temp_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What a head that was killed has left: Ray would take any process that names its address for it.
        (self._settings.temp_dir / "ray_current_cluster").unlink(missing_ok=True)
        try:
            async with self._turn(), asyncio.timeout(timeout_s):
                await self._run_ray_start()
                self._adopt()
            if self._settings.head is None:
                async with asyncio.timeout(timeout_s):
                    await self._wait_until_ready()
        except TimeoutError:
            await self.stop(grace_s=0)
            raise RayStartError(
                self._settings.region,
                f"it was not ready within {timeout_s:g} s",
                self._tail(self._start_log),
            ) from None
        except BaseException:
            await self.stop(grace_s=0)
            raise

    async def watch(self) -> AsyncIterator[RayProcessDied]:
        """Yields the death of each of the head's own processes, but for those that `stop` ends. Endless."""
        while True:
            yield await self._deaths.get()

    async def restart_dashboard(self, timeout_s: float = 60.0) -> None:
        """Starts the dashboard again, alone; returns when the Serve REST interface answers.

        One that still runs (frozen, say) is ended first. Replicas notice nothing. Raises `RayStartError`: the
        dashboard is then not watched, and the caller tries again later.
        """
        if not self._dashboard_command:
            raise RuntimeError(f"region {self._settings.region}: the Ray head is not running; start it first")
        self._unwatch(RayRole.DASHBOARD)
        await processes.end([known.identity for known in self._known(RayRole.DASHBOARD)], grace_s=1.0)
        log = self._settings.temp_dir / "dashboard-restart.log"
        with log.open("wb") as output:
            started = await asyncio.create_subprocess_exec(
                *self._dashboard_command,
                env=ray_environment(self._settings),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._sessions.add(started.pid)
        identity = processes.identify(started.pid)
        if identity is not None:  # else it is dead already, as the one before, and the next lines say so
            self._processes[RayRole.DASHBOARD] = RayProcess(RayRole.DASHBOARD, identity)
        try:
            async with asyncio.timeout(timeout_s):
                await self._wait_until_ready()
            self._watch(self._processes[RayRole.DASHBOARD])
        except TimeoutError:
            raise RayStartError(
                self._settings.region, f"its dashboard was not ready after {timeout_s:g} s", self._tail(log)
            ) from None

    async def stop(self, grace_s: float = 10.0) -> None:
        """Ends the head and all that belongs to it. Delete the Serve applications first where replicas are to
        drain.

        Does nothing if there is nothing left to end. Raises `processes.StillRunningError`.
        """
        for role in list(self._watchers):
            self._unwatch(role)
        # First the raylet, which ends its workers; while the GCS lives, none of them has to wait for it in
        # vain.
        await processes.end([known.identity for known in self._known(RayRole.RAYLET)], grace_s)
        await processes.end_all(lambda: [process.identity for process in self.running()], grace_s)
        self._processes.clear()
        self._sessions.clear()
        self._dashboard_command = ()
        while not self._deaths.empty():  # they told of a head that is no more
            self._deaths.get_nowait()

    def _turn(self) -> contextlib.AbstractAsyncContextManager[None]:
        return (
            contextlib.nullcontext() if self._settings.start_turn is None else turn(self._settings.start_turn)
        )

    @property
    def _start_log(self) -> Path:
        return self._settings.temp_dir / "ray-start.log"

    async def _run_ray_start(self) -> None:
        # Output goes to a file, not a pipe: what `ray start` leaves behind would keep a pipe open for ever.
        with self._start_log.open("wb") as output:
            starter = await asyncio.create_subprocess_exec(
                *ray_command(self._settings),
                env=ray_environment(self._settings),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        # All that it starts stays in its session, whatever becomes of parents and environments.
        self._sessions.add(starter.pid)
        status = await starter.wait()
        if status != 0:
            raise RayStartError(
                self._settings.region, f"`ray start` ended with status {status}", self._tail(self._start_log)
            )

    def _adopt(self) -> None:
        for process in self.running():
            role = _role_of(process.command)
            if role is not None:
                self._watch(RayProcess(role, process.identity))
                if role is RayRole.DASHBOARD:
                    self._dashboard_command = process.command
        wanted = RayRole if self._settings.head is None else (RayRole.RAYLET,)
        missing = [role.value for role in wanted if role not in self._processes]
        if missing:
            raise RayStartError(
                self._settings.region,
                f"{', '.join(missing)} did not stay up; see {self._settings.temp_dir}/session_latest/logs",
                self._tail(self._start_log),
            )

    async def _wait_until_ready(self) -> None:
        token = self._settings.token_file.read_text().strip()
        async with httpx.AsyncClient(
            base_url=Address(self._settings.address, self._settings.ports.dashboard).url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=30.0,
            trust_env=False,
        ) as client:
            while not await _answers(client):
                dead = [known for known in self.processes if not processes.is_running(known.identity)]
                if dead:
                    raise RayStartError(
                        self._settings.region,
                        f"{', '.join(known.role.value for known in dead)} ended; "
                        f"see {self._settings.temp_dir}/session_latest/logs",
                        self._tail(self._start_log),
                    )
                await asyncio.sleep(_POLL_S)

    def _known(self, role: RayRole) -> list[RayProcess]:
        return [self._processes[role]] if role in self._processes else []

    def _watch(self, process: RayProcess) -> None:
        self._processes[process.role] = process
        self._watchers[process.role] = asyncio.create_task(
            self._report_death(process), name=f"ray {self._settings.region} {process.role.value}"
        )

    def _unwatch(self, role: RayRole) -> None:
        watcher = self._watchers.pop(role, None)
        if watcher is not None:
            watcher.cancel()

    async def _report_death(self, process: RayProcess) -> None:
        await processes.wait_gone(process.identity)
        self._deaths.put_nowait(RayProcessDied(process))

    def _tail(self, log: Path) -> str:
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join(lines[-_TAIL_LINES:])


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        health = await client.get("/api/gcs_healthz")
        if health.status_code != httpx.codes.OK or health.text != "success":
            return False
        return (await client.get("/api/serve/applications/")).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _role_of(command: tuple[str, ...]) -> RayRole | None:
    """Which of the head's own processes has this command line."""
    program = Path(command[0]).name if command else ""
    if program in (RayRole.GCS.value, RayRole.RAYLET.value):
        return RayRole(program)
    # `python [flags] .../ray/dashboard/dashboard.py ...`; its agent is agent.py, and the raylet's.
    if any(part.endswith("ray/dashboard/dashboard.py") for part in command[:4]):
        return RayRole.DASHBOARD
    return None
