"""A Ray head that is kept up: its dashboard restarted alone, the whole of it when it is lost; faults on its parts."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from random import Random

from atoll.cell import processes
from atoll.cell.backoff import RestartBackoff, RestartPolicy
from atoll.cell.ray_head import RayHead, RayHeadSettings, RayRole, RayStartError
from atoll.cell.status import ProcessState, ProcessStatus
from atoll.clock import Clock

NAMES = {
    "ray-gcs": RayRole.GCS,
    "ray-raylet": RayRole.RAYLET,
    "ray-dashboard": RayRole.DASHBOARD,
}
WORKERS = "ray-workers"
WHOLE = "ray"
"""A fault's name for the head with its workers."""

log = logging.getLogger(__name__)


class RayUnit:
    """Keeps one region's Ray head up while `run` runs.

    `on_up` is run each time the head has come up, and cancelled when it is lost or stopped: a new head has no
    applications, and whoever owns them puts them there again. `on_problem` is told why a start failed.
    """

    def __init__(
        self,
        settings: RayHeadSettings,
        clock: Clock,
        random: Random,
        on_up: Callable[[], Awaitable[None]],
        on_problem: Callable[[str], None],
        policy: RestartPolicy | None = None,
    ) -> None:
        self._head = RayHead(settings)
        self._clock = clock
        self._on_up = on_up
        self._on_problem = on_problem
        self._backoff = RestartBackoff(policy or RestartPolicy(), random)
        self._dashboard_backoff = RestartBackoff(policy or RestartPolicy(), random)
        self._states = dict.fromkeys(RayRole, ProcessState.STARTING)
        self._restarts = dict.fromkeys(RayRole, 0)
        self._held: set[RayRole] = set()
        self._frozen: set[RayRole] = set()
        self._signalled: dict[int, processes.ProcessId] = {}
        self._healed = asyncio.Event()
        self._became_up = asyncio.Event()

    @property
    def is_up(self) -> bool:
        return self._became_up.is_set()

    async def wait_up(self) -> None:
        """Returns when the head is up; waits through failed starts."""
        await self._became_up.wait()

    async def run(self) -> None:
        """Keeps the head up until cancelled; then call `stop`."""
        while True:
            while self._held & {role for role in RayRole if role.essential}:
                self._healed.clear()
                await self._healed.wait()
            self._held.clear()
            self._set_all(ProcessState.STARTING)
            started = self._clock.monotonic()
            try:
                await self._head.start()
            except RayStartError as error:
                log.error("%s", error)  # noqa: TRY400  the message says it all
                self._on_problem(str(error))
            else:
                self._set_all(ProcessState.RUNNING)
                self._became_up.set()
                await self._until_lost()
                self._became_up.clear()
                await self._head.stop(grace_s=0)
            self._frozen.clear()
            if not self._held:
                for role in RayRole:
                    self._restarts[role] += 1
                self._set_all(ProcessState.RESTARTING)
                await asyncio.sleep(self._backoff.after_run(self._clock.monotonic() - started))

    async def drain(self, deadline_s: float) -> bool:
        """As `RayHead.drain`. The task of `run` must have ended."""
        return await self._head.drain(deadline_s)

    async def stop(self, grace_s: float = 10.0) -> None:
        """Ends the head and all its workers. The task of `run` must have ended."""
        self._became_up.clear()
        await self._head.stop(grace_s)
        self._set_all(ProcessState.STOPPED)

    def kill(self, name: str) -> None:
        """A fault: ends a part (`NAMES`) or the whole (`WHOLE`) at once; down until healed."""
        if name == WHOLE:
            self._held = set(RayRole)
            targets = [process.identity for process in self._head.running()]
        else:
            self._held.add(NAMES[name])
            targets = self._identities(NAMES[name])
        for role in self._held:
            self._states[role] = ProcessState.KILLED
        for identity in targets:
            processes.signal(identity, signal.SIGKILL)

    def freeze(self, name: str) -> None:
        """A fault: a part or the whole, workers included, gets no processor time until healed."""
        roles = set(RayRole) if name == WHOLE else {NAMES[name]}
        self._frozen |= roles
        everything = [process.identity for process in self._head.running()]
        for identity in everything if name == WHOLE else self._identities(NAMES[name]):
            processes.signal(identity, signal.SIGSTOP)

    def signal_worker(self, pid: int, number: signal.Signals) -> bool:
        """A fault on one worker process; False if the head has none of this number."""
        identity = self._signalled.get(pid)
        if identity is None or not processes.is_running(
            identity
        ):  # else not all of them are looked through again
            running = {process.identity.pid: process.identity for process in self._head.running()}
            if (identity := running.get(pid)) is None:
                return False
            self._signalled[pid] = identity
        return processes.signal(identity, number)

    def heal(self) -> None:
        """Ends all faults on the head."""
        if self._frozen:
            for process in self._head.running():
                processes.signal(process.identity, signal.SIGCONT)
        self._frozen.clear()
        self._held.clear()
        self._backoff.reset()
        self._dashboard_backoff.reset()
        self._healed.set()

    def statuses(self, *, memory: bool = True) -> tuple[ProcessStatus, ...]:
        """A snapshot of the head's own processes, and one line for all its workers and helpers together."""
        pids = {process.role: process.identity.pid for process in self._head.processes}
        taken = self._memory() if memory else self._own_alive()
        own = tuple(
            ProcessStatus(
                name=name,
                pid=pids.get(role) if pids.get(role) in taken else None,
                state=ProcessState.FROZEN if role in self._frozen else self._states[role],
                restarts=self._restarts[role],
                memory_bytes=taken.pop(pids.get(role, 0), 0),
            )
            for name, role in NAMES.items()
        )
        state = self._states[RayRole.RAYLET]
        return (*own, ProcessStatus(WORKERS, None, state, 0, sum(taken.values())))

    def _memory(self) -> dict[int, int]:
        return {process.identity.pid: _memory(process.identity.pid) for process in self._head.running()}

    def _own_alive(self) -> dict[int, int]:
        """Without a look at every process of the machine."""
        own = (process.identity for process in self._head.processes)
        return {identity.pid: 0 for identity in own if processes.is_running(identity)}

    async def _until_lost(self) -> None:
        """Returns when the head can't go on. Meanwhile a dead dashboard is started again."""
        up = asyncio.create_task(_awaited(self._on_up()), name="ray on_up")
        dashboard: asyncio.Task[None] | None = None
        try:
            async for death in self._head.watch():
                role = death.process.role
                log.warning("ray's %s (process %d) ended", role.value, death.process.identity.pid)
                if role.essential:
                    return
                if dashboard is None or dashboard.done():
                    dashboard = asyncio.create_task(self._restart_dashboard(), name="ray dashboard")
        finally:
            for task in (up, dashboard):
                if task is not None:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

    async def _restart_dashboard(self) -> None:
        while True:
            while RayRole.DASHBOARD in self._held:
                self._healed.clear()
                await self._healed.wait()
            self._restarts[RayRole.DASHBOARD] += 1
            self._states[RayRole.DASHBOARD] = ProcessState.RESTARTING
            await asyncio.sleep(self._dashboard_backoff.after_run(0.0))
            try:
                await self._head.restart_dashboard()
            except RayStartError as error:
                log.error("%s", error)  # noqa: TRY400  the message says it all
            else:
                self._frozen.discard(RayRole.DASHBOARD)
                self._states[RayRole.DASHBOARD] = ProcessState.RUNNING
                self._dashboard_backoff.reset()
                return

    def _identities(self, role: RayRole) -> list[processes.ProcessId]:
        return [process.identity for process in self._head.processes if process.role is role]

    def _set_all(self, state: ProcessState) -> None:
        self._states = dict.fromkeys(RayRole, state)


async def _awaited(awaitable: Awaitable[None]) -> None:
    await awaitable


def _memory(pid: int) -> int:
    try:
        return processes.memory_pss(pid)
    except ProcessLookupError:
        return 0
