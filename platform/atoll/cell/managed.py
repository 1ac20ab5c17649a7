"""One child process that is kept up: started, watched, restarted with backoff, held down by a fault, ended."""

import asyncio
import contextlib
import logging
import os
import resource
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from random import Random

from atoll.cell import processes
from atoll.cell.backoff import RestartBackoff, RestartPolicy
from atoll.cell.processes import ProcessId
from atoll.cell.reaper import die_with_parent
from atoll.cell.status import ProcessState, ProcessStatus
from atoll.clock import Clock

READY_POLL_S = 0.05

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run.

    ``ready`` is asked again and again while the process starts; it answers whether the process can be used, and an
    `OSError` from it (a refused connection) means not yet. The child has a session of its own, so that Ctrl-C on the
    terminal reaches its owner alone, and gets SIGTERM when its owner dies however it dies.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log: Path | None
    """None: its output goes where its owner's does."""
    ready: Callable[[], Awaitable[bool]]
    ready_timeout_s: float = 30.0
    """A start that takes longer has failed: the process is killed and tried again after a wait."""
    stop_grace_s: float = 10.0
    """How long it may take to end after SIGTERM before it is killed."""
    dies_with_parent: bool = True


class _Wanted(Enum):
    UP = "up"
    KILLED = "killed"
    STOPPED = "stopped"


class ManagedProcess:
    """Keeps one process up while `run` runs.

    `restarts` counts starts that a crash (or a start that never became ready) made necessary; a heal after a fault
    is none. A fault is in force from `kill` or `freeze` to `heal`; a killed process stays down meanwhile.
    """

    def __init__(
        self,
        spec: ProcessSpec,
        clock: Clock,
        random: Random,
        policy: RestartPolicy | None = None,
        on_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`on_end` is awaited after each end that nobody asked for, before the next start is waited for."""
        self._spec = spec
        self._clock = clock
        self._on_end = on_end
        self._backoff = RestartBackoff(policy or RestartPolicy(), random)
        self._wanted = _Wanted.UP
        self._turned = asyncio.Event()
        self._became_ready = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._state = ProcessState.STARTING
        self._frozen = False
        self._full = False
        self._identity: ProcessId | None = None
        self._restarts = 0
        self._last_end = ""
        self._ever_ready = False

    @property
    def ever_ready(self) -> bool:
        """Whether it could be used at least once."""
        return self._ever_ready

    @property
    def log(self) -> Path | None:
        return self._spec.log

    @property
    def name(self) -> str:
        return self._spec.name

    @property
    def state(self) -> ProcessState:
        return ProcessState.FROZEN if self._frozen else self._state

    @property
    def restarts(self) -> int:
        return self._restarts

    @property
    def last_end(self) -> str:
        """How it ended last, in words; empty if it never did."""
        return self._last_end

    def status(self, *, memory: bool = True) -> ProcessStatus:
        """A snapshot. Memory is read from the kernel now, or left at zero."""
        identity = self._identity
        taken = 0
        if identity is not None and memory:
            with contextlib.suppress(ProcessLookupError):
                taken = processes.memory_pss(identity.pid)
        return ProcessStatus(self.name, identity.pid if identity else None, self.state, self._restarts, taken)

    async def run(self) -> None:
        """Keeps the process up until `stop` is called; if this is cancelled, the process is killed."""
        while self._wanted is not _Wanted.STOPPED:
            if self._wanted is _Wanted.KILLED:
                self._state = ProcessState.KILLED
                await self._next_turn()
                continue
            ran_for_s = await self._run_once()
            if self._wanted is _Wanted.UP:
                self._restarts += 1
                self._state = ProcessState.RESTARTING
                wait_s = self._backoff.after_run(ran_for_s)
                log.warning("%s %s; next start in %.1f s", self.name, self._last_end, wait_s)
                if self._on_end is not None:
                    await self._on_end()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._next_turn()
        self._state = ProcessState.STOPPED

    async def wait_ready(self) -> None:
        """Returns when the process can be used; waits through crashes and restarts."""
        await self._became_ready.wait()

    async def wait_ended(self) -> None:
        """Returns when the process that runs now has ended; at once if there is none."""
        await self._ended.wait()

    async def stop(self) -> None:
        """Ends the process in order: SIGTERM, then SIGKILL after the grace period. Returns when it is gone."""
        self._turn(_Wanted.STOPPED)
        if self._identity is not None:
            await processes.end([self._identity], self._spec.stop_grace_s)

    def kill(self) -> None:
        """A fault: ends the process at once and keeps it down until healed."""
        self._turn(_Wanted.KILLED)
        self._frozen = False
        self._send(signal.SIGKILL)

    def freeze(self) -> None:
        """A fault: the process gets no processor time until healed. Does nothing while there is no process."""
        self._frozen = self._send(signal.SIGSTOP)

    def fill(self) -> None:
        """A fault: no file of the process takes a write until healed, of those that it starts anew neither. Writes fail
        as on a full disk, with another number (EFBIG instead of ENOSPC); sockets are no files.
        """
        self._full = True
        self._limit_files()

    def heal(self) -> None:
        """Ends the fault, if there is one."""
        if self._full:
            self._full = False
            self._limit_files()
        if self._frozen:
            self._frozen = False
            self._send(signal.SIGCONT)
        if self._wanted is _Wanted.KILLED:
            self._backoff.reset()
            self._turn(_Wanted.UP)

    def _turn(self, wanted: _Wanted) -> None:
        if self._wanted is not _Wanted.STOPPED:
            self._wanted = wanted
            self._turned.set()

    async def _next_turn(self) -> None:
        self._turned.clear()
        await self._turned.wait()

    def _send(self, number: signal.Signals) -> bool:
        return self._identity is not None and processes.signal(self._identity, number)

    def _limit_files(self) -> None:
        """Only the soft limit is changed: the hard one can't be raised again without a privilege."""
        if self._identity is None or not processes.is_running(self._identity):
            return
        with contextlib.suppress(ProcessLookupError):
            _, hard = resource.prlimit(self._identity.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(self._identity.pid, resource.RLIMIT_FSIZE, (0 if self._full else hard, hard))

    async def _run_once(self) -> float:
        """From one start to its end; how many seconds it ran."""
        self._state = ProcessState.STARTING
        started = self._clock.monotonic()
        try:
            child = await self._spawn()
        except OSError as error:
            self._last_end = f"could not be started: {error}"
            return 0.0
        self._identity = processes.identify(child.pid)
        self._ended.clear()
        if self._full:
            self._limit_files()
        if self._wanted is not _Wanted.UP:  # told while it was being started
            self._send(signal.SIGKILL)
        try:
            async with asyncio.TaskGroup() as tasks:
                readiness = tasks.create_task(self._watch_readiness(child))
                status = await child.wait()
                readiness.cancel()
        finally:
            if child.returncode is None:
                child.kill()
            self._became_ready.clear()
            self._identity = None
            self._frozen = False
            self._ended.set()
        self._last_end = _describe(status)
        return self._clock.monotonic() - started

    async def _spawn(self) -> asyncio.subprocess.Process:
        output = None
        if self._spec.log is not None:
            self._spec.log.parent.mkdir(parents=True, exist_ok=True)
            output = os.open(self._spec.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                *self._spec.argv,
                env=self._spec.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                # A write that no file takes (`fill`) is to fail; SIGXFSZ, which Python ignores, would end the child.
                restore_signals=False,
                preexec_fn=die_with_parent() if self._spec.dies_with_parent else None,
            )
        finally:
            if output is not None:
                os.close(output)

    async def _watch_readiness(self, child: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(self._spec.ready_timeout_s):
                while not await self._is_ready():  # noqa: ASYNC110  another process can't set an event
                    await asyncio.sleep(READY_POLL_S)
        except TimeoutError:
            log.error(  # noqa: TRY400  a timeout's trace says nothing
                "%s was not ready after %.0f s; see %s",
                self.name,
                self._spec.ready_timeout_s,
                self._spec.log or "what it said above",
            )
            child.kill()
            return
        self._state = ProcessState.RUNNING
        self._became_ready.set()
        self._ever_ready = True

    async def _is_ready(self) -> bool:
        try:
            return await self._spec.ready()
        except OSError:
            return False


def _describe(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
