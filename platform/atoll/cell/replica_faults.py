"""Faults on one replica of a service: Serve runs them, so they are found by what it says of itself.

A killed thing stays down until it is healed. Serve starts another replica in the place of one that died, so that one is
killed as well, as soon as it runs: a crash loop. A frozen one is replaced too, once Serve has had no answer for long
enough; its successor is left alone. One that limps is stopped and let go on once a second, as ``cpulimit`` does it more
finely: it answers, and passes every check, but slowly (Do et al., "Limplock", SoCC 2013).

There is no fault on a replica's memory: one that takes too much is killed by Ray's memory monitor or the kernel, as
here.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence

from atoll.cell.fault_errors import FaultImpossible
from atoll.cell.requests import Fault
from atoll.serve.client import ServeError
from atoll.serve.status import Replica, ReplicaState

REPLICA = "replica"
"""``replica/<service>`` is a fault's target within a region."""
POLL_S = 0.5
LIMP_S = 1.0
"""A replica that limps runs once in this time. In a tenth of it one that mostly waits hardly noticed."""

log = logging.getLogger(__name__)

Find = Callable[[str], Awaitable[Sequence[Replica]]]
Signal = Callable[[int, signal.Signals], bool]


class CrashLoop:
    """Which replicas are to die: one that runs when this begins, and whatever comes after. Pure."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        """Raises `FaultImpossible` if none runs."""
        running = running_of(replicas)
        if not running:
            raise FaultImpossible("no replica of it runs there now; see `atoll status`")
        self._spared = frozenset(replica.replica_id for replica in running[1:])

    def victims(self, replicas: Sequence[Replica]) -> list[Replica]:
        """Those that run now and must not."""
        return [replica for replica in running_of(replicas) if replica.replica_id not in self._spared]


def running_of(replicas: Sequence[Replica]) -> list[Replica]:
    """Those that run as a process that is known, by their names."""
    running = [one for one in replicas if one.state is ReplicaState.RUNNING and one.pid is not None]
    return sorted(running, key=lambda replica: replica.replica_id)


class ReplicaFaults:
    """The faults on a region's replicas, one a service."""

    def __init__(self, find: Find, send: Signal) -> None:
        """`find` lists a service's replicas, `send` signals a worker of the region's Ray by its process number."""
        self._find = find
        self._send = send
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._frozen: dict[str, int] = {}
        self._limping: dict[str, asyncio.Task[None]] = {}

    async def fault(self, kind: Fault, service: str, share: float | None = None) -> None:
        """Kills, freezes, has it limp (with a `share` of the time), or heals. Raises `FaultImpossible`."""
        if kind is Fault.HEAL:
            await self.heal(service)
            return
        if kind not in (Fault.KILL, Fault.FREEZE, Fault.LIMP):
            raise FaultImpossible(
                f"{kind.value} is nothing that can be done to a replica; kill, freeze and limp are"
            )
        if service in self._loops.keys() | self._frozen.keys() | self._limping.keys():
            raise FaultImpossible(f"a replica of {service} is under a fault there already; heal it first")
        try:
            replicas = await self._find(service)
        except ServeError as error:
            raise FaultImpossible(f"Serve can't be asked for its replicas: {error}") from error
        loop = CrashLoop(replicas)
        victim = loop.victims(replicas)[0]
        assert victim.pid is not None, "it runs"
        if kind is Fault.KILL:
            self._kill(victim)
            self._loops[service] = asyncio.create_task(self._keep_down(service, loop))
            return
        if not self._send(victim.pid, signal.SIGSTOP):
            raise FaultImpossible(f"process {victim.pid} of {service} has just ended; try again")
        if share is None:
            self._frozen[service] = victim.pid
        else:
            self._limping[service] = asyncio.create_task(self._limp(victim.pid, share))

    async def heal(self, service: str | None = None) -> None:
        """Ends the fault on a service's replica (None: of all services)."""
        for name in [service] if service is not None else [*self._loops, *self._frozen, *self._limping]:
            if (pid := self._frozen.pop(name, None)) is not None:
                self._send(pid, signal.SIGCONT)  # False: Serve has replaced it
            for task in (self._loops.pop(name, None), self._limping.pop(name, None)):
                if task is not None:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task

    async def _keep_down(self, service: str, loop: CrashLoop) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                replicas = await self._find(service)
            except ServeError as error:  # without a dashboard nobody starts a replica either
                log.warning("replicas of %s are not known: %s", service, error)
                continue
            for victim in loop.victims(replicas):
                self._kill(victim)

    async def _limp(self, pid: int, share: float) -> None:
        """It is stopped when this begins, and runs when this ends."""
        there = True
        try:
            while there:
                await asyncio.sleep((1.0 - share) * LIMP_S)
                there = self._send(pid, signal.SIGCONT)
                await asyncio.sleep(share * LIMP_S)
                there = there and self._send(pid, signal.SIGSTOP)
        finally:
            self._send(pid, signal.SIGCONT)

    def _kill(self, victim: Replica) -> None:
        assert victim.pid is not None, "it runs"
        if self._send(victim.pid, signal.SIGKILL):
            log.warning("fault: replica %s is killed", victim.replica_id)
