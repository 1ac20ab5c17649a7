"""Puts a drill's faults on a target, and takes back what it put: all of it, and nothing else."""

import asyncio
import logging
from collections.abc import Callable, Iterable

from atoll.cell.client import NotRunning, OperationFailed
from loadtests.drills.record import MarkKind
from loadtests.drills.scenario import Fault, FaultKind
from loadtests.drills.target import Target, replica

log = logging.getLogger(__name__)

HEAL_TRIES = 3
PAUSE_S = 1.0

Say = Callable[[MarkKind, str], None]
"""Takes a mark's kind and text."""


class InjectionFailed(Exception):
    """A fault could not be put on; says which and why. Those before it are in force until `heal`."""


class HealFailed(Exception):
    """Something is left broken; says what, and how to heal it by hand."""


class Injection:
    """What one drill has broken."""

    def __init__(self, target: Target, say: Say) -> None:
        """`say` is told of every fault and its end."""
        self._target = target
        self._say = say
        self._in_force: list[Fault] = []
        self._under_way: list[asyncio.Task[None]] = []
        self._missing = ""

    @property
    def in_force(self) -> tuple[Fault, ...]:
        """What is to be healed, in the order in which it was made."""
        return tuple(self._in_force)

    async def inject(self, faults: Iterable[Fault]) -> None:
        """Returns when they are in force; a drain goes on by itself. Raises `InjectionFailed`."""
        for fault in faults:
            if fault.kind is FaultKind.NONE:
                self._say(MarkKind.FAULT, "nothing breaks: load alone")
                continue
            self._in_force.append(fault)  # before it is tried: half of it may be done when it fails
            self._say(MarkKind.FAULT, words(fault))
            doing = asyncio.create_task(self._target.inject(fault))
            if fault.kind is FaultKind.DRAIN:
                self._under_way.append(doing)
                continue
            try:
                await doing
            except (OperationFailed, NotRunning) as error:
                raise InjectionFailed(f"{words(fault)}: {error}") from error

    async def do_without(self, mechanism: str) -> None:
        """Turns a mechanism off, until `do_with_all`. Raises `InjectionFailed`."""
        self._missing = mechanism
        try:
            await self._target.do_without(mechanism)
        except (OperationFailed, NotRunning) as error:
            raise InjectionFailed(f"{mechanism} can't be turned off: {error}") from error

    async def do_with_all(self) -> None:
        """Turns on again what `do_without` turned off. Raises `HealFailed`."""
        if not self._missing:
            return
        try:
            await self._target.do_with(self._missing)
        except NotRunning as error:
            log.warning("nothing to turn on: %s", error)
        except OperationFailed as error:
            raise HealFailed(
                f"gateways still do without {self._missing}: {error}. Do it by hand: "
                f"`atoll fault heal {self._missing}`"
            ) from error
        self._missing = ""

    async def heal(self) -> None:
        """Ends all that is in force, the last first; one that can't be ended keeps no other from it. Raises
        `HealFailed`.
        """
        for task in self._under_way:
            task.cancel()
        self._report(await asyncio.gather(*self._under_way, return_exceptions=True))
        self._under_way.clear()
        left = []
        for fault in reversed(self._in_force):
            if why := await self._heal(fault):
                left.append(f"{words(fault)}: {why}")
            else:
                self._in_force.remove(fault)
                self._say(MarkKind.HEAL, f"{subject(fault)} is healed")
        if left:
            raise HealFailed(
                "; ".join(left) + ". Heal it by hand: `atoll fault heal`, `atoll undrain REGION`"
            )

    async def _heal(self, fault: Fault) -> str:
        why = ""
        for _ in range(HEAL_TRIES):
            try:
                await self._target.heal(fault)
            except NotRunning as error:  # what does not run is not broken
                log.warning("nothing to heal: %s", error)
                return ""
            except OperationFailed as error:
                why = str(error)
                await asyncio.sleep(PAUSE_S)
            else:
                return ""
        return why

    def _report(self, ended: Iterable[BaseException | None]) -> None:
        """A drain that did not end in time is for the figures to show."""
        for error in ended:
            if isinstance(error, OperationFailed | NotRunning):
                log.warning("%s", error)
            elif error is not None and not isinstance(error, asyncio.CancelledError):
                raise error


def subject(fault: Fault) -> str:
    """Who suffers it, for people."""
    match fault.kind:
        case FaultKind.NONE:
            return "nothing"
        case FaultKind.CUT | FaultKind.SLOW | FaultKind.THROTTLE:
            return f"{fault.target} {'->' if fault.one_way else '-'} {fault.other or 'everything'}"
        case FaultKind.KILL_REPLICA | FaultKind.FREEZE_REPLICA | FaultKind.LIMP_REPLICA:
            return replica(fault)
        case FaultKind.CLOCK_SKEW:
            return f"the clock of {fault.target}"
    return fault.target


def words(fault: Fault) -> str:
    """A fault for people: ``eu-west is killed``."""
    effect = "breaks"
    match fault.kind:
        case FaultKind.KILL | FaultKind.KILL_REPLICA:
            effect = "is killed"
        case FaultKind.FREEZE | FaultKind.FREEZE_REPLICA:
            effect = "is frozen"
        case FaultKind.CUT:
            effect = "is cut"
        case FaultKind.SLOW:
            effect = f"takes {(fault.latency_s or 0) * 1000:g} ms one way"
        case FaultKind.THROTTLE:
            effect = f"carries {(fault.rate_bytes_per_s or 0) / 1024:g} KiB/s each way"
        case FaultKind.DRAIN:
            effect = "is drained"
        case FaultKind.STORE_FULL:
            effect = "has a full disk"
        case FaultKind.STORE_MEMORY:
            effect = "may use no more memory"
        case FaultKind.LIMP_REPLICA:
            effect = f"gets {fault.share or 0:.0%} of the time"
        case FaultKind.CLOCK_SKEW:
            effect = f"is {abs(fault.skew_s or 0):g} s {'behind' if (fault.skew_s or 0) < 0 else 'ahead'}"
        case FaultKind.RESTART_STORM:
            effect = "is killed and started again"
    return f"{subject(fault)} {effect}"
