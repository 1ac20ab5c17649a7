"""Whether there is room on the machine to measure in: what belongs to the run itself is not held against it."""

import asyncio
import os
from pathlib import Path

from atoll.cell.facts import read_facts
from atoll.cell.paths import RunPaths
from atoll.cell.processes import find_marked
from atoll.cell.reap import outputs
from loadtests.drills.processor import Processor
from loadtests.drills.verdict import TOO_BUSY

LOOK_S = 5.0
OTHERS = 0.15
"""Share of the machine that others may use; this project's own. What the run takes without load (a fifth to a half of
two cores for three regions) is part of what is measured."""

_PROC = Path("/proc")
_USED_FIELDS = slice(11, 13)
"""Behind the command's name: time in the process itself and in the kernel for it, in clock ticks (proc(5))."""


class MachineBusy(Exception):
    """Something else would be measured; says what, and what to do."""


async def check_idle(paths: RunPaths) -> None:
    """Looks for `LOOK_S`. Raises `MachineBusy` if others than the run use the machine, or the run all of it."""
    facts = read_facts(paths)
    ours = [one.identity.pid for one in find_marked(paths.home, folders=outputs(paths, facts))]
    before = {pid: _seconds(pid) for pid in ours}
    processor = Processor()
    await asyncio.sleep(LOOK_S)
    busy = processor.busy()
    used = sum(max(0.0, _seconds(pid) - then) for pid, then in before.items())
    refuse(busy, used / (LOOK_S * (os.cpu_count() or 1)))


def refuse(busy: float, own: float) -> None:
    """Raises `MachineBusy` for these shares of the machine: of everybody, and of the run alone. Pure."""
    if busy - own > OTHERS:
        raise MachineBusy(
            f"others than this run use {busy - own:.0%} of the machine, so that would be measured; end what else runs"
        )
    if busy > TOO_BUSY:
        raise MachineBusy(
            f"without any load this run uses {own:.0%} of the machine, so no rate could be told from its limit; wait "
            "until regions have started, or start fewer: `atoll up --regions 2`"
        )


def read_used(text: str) -> int:
    """Clock ticks of processor time from the text of ``/proc/PID/stat``. Pure."""
    return sum(int(field) for field in text.rpartition(")")[2].split()[_USED_FIELDS])


def _seconds(pid: int) -> float:
    """Of processor time that a process has used; 0 if it has ended."""
    try:
        return read_used((_PROC / str(pid) / "stat").read_text()) / os.sysconf("SC_CLK_TCK")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
