"""Processes on one Linux machine: name them for certain, find them, wait for their end, end them.

A bare process number is no identity: the kernel gives it to another process later. Everything here works on
`ProcessId`, which adds the time the process started, and signals through a pidfd, so a reused number is never
hit.

What belongs to a run is marked in the environment: ``ATOLL_RUN=<home>/<...>`` and ``ATOLL_REGION=<region>``,
set by whoever starts the process and inherited by all it starts. So `find_marked` needs no list of process
numbers that could be lost or stale. Start what is marked in a session of its own
(``start_new_session=True``): a process may lose its parent and
overwrite its environment, but keeps its session.

Linux only (``/proc``, pidfd): elsewhere every function raises `UnsupportedPlatformError`.
"""

import asyncio
import contextlib
import os
import signal as signals
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

RUN_VARIABLE = "ATOLL_RUN"
REGION_VARIABLE = "ATOLL_REGION"

_PROC = Path("/proc")
_KILL_WAIT_S = 10.0  # after SIGKILL only a process stuck in the kernel is still there


class UnsupportedPlatformError(RuntimeError):
    """Cells are run by means that only Linux has."""


class StillRunningError(RuntimeError):
    """Processes that not even SIGKILL ended in time; `remaining` names them."""

    def __init__(self, remaining: Collection["ProcessId"]) -> None:
        numbers = ", ".join(str(identity.pid) for identity in sorted(remaining, key=lambda one: one.pid))
        super().__init__(
            f"process {numbers} did not end within {_KILL_WAIT_S:.0f} s of SIGKILL; it hangs in the kernel "
            "(see its state with `ps -o pid,stat,wchan`), or something keeps starting new ones"
        )
        self.remaining = frozenset(remaining)


@dataclass(frozen=True, slots=True, order=True)
class ProcessId:
    """One process for certain: its number, and when it started in clock ticks since the machine's boot."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class MarkedProcess:
    """A running process of a run. `run` and `region` are its own marks or, where it has lost them, its
    parent's.

    `session` is the kernel's session number: what was started with a session of its own keeps it for life,
    and so does all that it starts, even where the parent is long gone.
    """

    identity: ProcessId
    parent: int
    session: int
    run: str
    region: str | None
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Stat:
    """The fields of ``/proc/PID/stat`` that are used here."""

    identity: ProcessId
    state: str
    parent: int
    session: int

    @property
    def ended(self) -> bool:
        return self.state in "ZXx"


def require_linux() -> None:
    """Raises `UnsupportedPlatformError` anywhere but on Linux."""
    if sys.platform != "linux":
        raise UnsupportedPlatformError(
            f"a cell's processes can only be run on Linux, and this is {sys.platform}; "
            "use a Linux machine, virtual machine or container"
        )


def identify(pid: int) -> ProcessId | None:
    """The identity of the process that has this number now, or None where none does (a zombie has ended:
    None).
    """
    require_linux()
    stat = _read_stat(pid)
    return None if stat is None or stat.ended else stat.identity


def is_running(identity: ProcessId) -> bool:
    """Whether this very process still runs. A zombie has ended."""
    return identify(identity.pid) == identity


def signal(identity: ProcessId, number: signals.Signals) -> bool:
    """Sends a signal to this very process; False if it is gone, whoever has its number now.

    Raises `PermissionError` for another user's process.
    """
    with _pidfd(identity) as pidfd:
        if pidfd is None:
            return False
        try:
            signals.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return False
        return True


async def wait_gone(identity: ProcessId) -> None:
    """Returns when this process has ended; at once if it is gone. Works for any process, child or not.

    An ended child stays a zombie until its parent reads its status: asyncio does for the ones it started,
    `reaper.reap_adopted` for those that were adopted.
    """
    with _pidfd(identity) as pidfd:
        if pidfd is None:
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(pidfd)


def find_marked(
    mark: str,
    region: str | None = None,
    sessions: Collection[int] = (),
    folders: Mapping[Path, str | None] = MappingProxyType({}),
) -> list[MarkedProcess]:
    """All running processes of this user that belong to the run `mark`, and to `region` where one is given.

    `mark` is a whole value of ``ATOLL_RUN`` or a folder that values begin with: ``/a`` finds ``/a`` and
    ``/a/b``, never ``/ab``. Found are the processes that carry the mark and all that they started.

    A program that shows a long title in `ps`, as Ray's Python processes do, overwrites its environment in part
    or in whole, and may have lost its parent too. It is found by its session, if that holds other processes of
    one and the same region or is among `sessions`: those that the caller knows to be the run's. Or by where its
    output goes: `folders` are those that nobody else writes to, each with the region whose it is. A process with
    an intact environment that carries no mark is found only below a marked one.
    """
    require_linux()
    snapshot = [stat for pid in _pids() if (stat := _read_stat(pid)) is not None and not stat.ended]
    environments = {stat: _read_environment(stat.identity.pid) for stat in snapshot}
    found: dict[_Stat, _Marks] = {}
    damaged: list[_Stat] = []
    for stat, environment in environments.items():
        if not environment.intact and None in {environment.run, environment.region}:
            damaged.append(stat)
        elif environment.run is not None and _within(environment.run, mark):
            found[stat] = _Marks(environment.run, environment.region)
    _add_descendants(found, snapshot)
    of_session: dict[int, set[_Marks]] = {}
    for stat, marks in found.items():
        of_session.setdefault(stat.session, set()).add(marks)
    for stat in damaged:
        run, owners = environments[stat].run, of_session.get(stat.session, set())
        if len(owners) == 1:
            found.setdefault(stat, *owners)
        elif (folder := _writes_to(stat.identity.pid, folders)) is not None:
            found.setdefault(stat, _Marks(run or mark, environments[stat].region or folders[folder]))
        elif stat.session in sessions or (run is not None and _within(run, mark)):
            found.setdefault(stat, _Marks(run or mark, environments[stat].region or region))
    _add_descendants(found, snapshot)
    return [
        MarkedProcess(
            stat.identity,
            stat.parent,
            stat.session,
            marks.run,
            marks.region,
            _read_command(stat.identity.pid),
        )
        for stat, marks in found.items()
        if region is None or marks.region == region
    ]


async def end(identities: Collection[ProcessId], grace_s: float) -> None:
    """Ends these processes: SIGTERM, up to `grace_s` seconds for them to go, then SIGKILL.

    Returns when all have ended. Raises `StillRunningError`.
    """
    await end_all(lambda: [identity for identity in identities if is_running(identity)], grace_s)


async def end_all(find: Callable[[], Collection[ProcessId]], grace_s: float) -> None:
    """As `end`, for all that `find` names, asked again until it names none: processes start others meanwhile.

    `find` must name running processes only, and never the caller. Raises `StillRunningError`.
    """
    for number, wait_s in ((signals.SIGTERM, grace_s), (signals.SIGKILL, _KILL_WAIT_S)):
        told: set[ProcessId] = set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while living := set(find()):
                    for identity in living - told:
                        signal(identity, number)
                        signal(
                            identity, signals.SIGCONT
                        )  # a frozen process gets no SIGTERM before it runs again
                    told |= living
                    await asyncio.gather(*(wait_gone(identity) for identity in living))
                return
    if remaining := find():
        raise StillRunningError(remaining)


def memory_pss(pid: int) -> int:
    """The memory of a process in bytes, with shared pages divided among those who share them (PSS).

    So the sum over processes is what they really take. Where the kernel does not tell it, the resident set
    (RSS), which counts shared pages in full. Raises `ProcessLookupError` if there is no such process.
    """
    require_linux()
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    try:
        resident_pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(f"there is no process {pid}") from None
    return resident_pages * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def _pidfd(identity: ProcessId) -> Iterator[int | None]:
    """A pidfd of this very process, or None if it is gone.

    The descriptor pins whatever has the number; if that one started when `identity` did, it is the one.
    """
    require_linux()
    try:
        pidfd = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield pidfd if identify(identity.pid) == identity else None
    finally:
        os.close(pidfd)


def _pids() -> list[int]:
    """The numbers of this user's processes, without the asking one."""
    own_uid, own_pid = os.getuid(), os.getpid()
    pids = []
    for entry in _PROC.iterdir():
        with contextlib.suppress(OSError, ValueError):
            pid = int(entry.name)
            if pid != own_pid and entry.stat().st_uid == own_uid:
                pids.append(pid)
    return pids


def zombie_children() -> set[ProcessId]:
    """This process's children that have ended and whose status nobody has read yet."""
    require_linux()
    stats = (_read_stat(pid) for pid in _pids())
    return {
        stat.identity
        for stat in stats
        if stat is not None and stat.state == "Z" and stat.parent == os.getpid()
    }


def _read_stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in brackets may hold blanks and brackets itself; the fields begin behind its last bracket.
    fields = text[text.rindex(")") + 2 :].split()
    return _Stat(
        identity=ProcessId(pid, start_ticks=int(fields[19])),
        state=fields[0],
        parent=int(fields[1]),
        session=int(fields[3]),
    )


@dataclass(frozen=True, slots=True)
class _Marks:
    run: str
    region: str | None


@dataclass(frozen=True, slots=True)
class _Environment:
    """The marks in a process's environment, and whether that is still the one it was started with."""

    run: str | None
    region: str | None
    intact: bool


def _read_environment(pid: int) -> _Environment:
    """A process that is gone or closed to us counts as one without marks."""
    try:
        entries = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return _Environment(None, None, intact=True)
    intact = all(b"=" in entry for entry in entries[:-1])  # what overwrites it is a title, then zeros
    return _Environment(_value(entries, RUN_VARIABLE), _value(entries, REGION_VARIABLE), intact)


def _writes_to(pid: int, folders: Collection[Path]) -> Path | None:
    """The folder of these in which the files lie that a process has for its output."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            output = (_PROC / str(pid) / "fd" / str(descriptor)).readlink()
            for folder in folders:
                if output.is_relative_to(folder):
                    return folder
    return None


def _value(entries: list[bytes], name: str) -> str | None:
    prefix = os.fsencode(name) + b"="
    return next((os.fsdecode(entry[len(prefix) :]) for entry in entries if entry.startswith(prefix)), None)


def _add_descendants(found: dict[_Stat, _Marks], snapshot: list[_Stat]) -> None:
    """Adds all that the found ones started; each has the marks of its nearest found forebear."""
    by_pid = {stat.identity.pid: marks for stat, marks in found.items()}
    grew = True
    while grew:
        grew = False
        for stat in snapshot:
            if stat.identity.pid not in by_pid and (marks := by_pid.get(stat.parent)) is not None:
                by_pid[stat.identity.pid] = found[stat] = marks
                grew = True


def _within(run: str, mark: str) -> bool:
    folder = mark.rstrip("/")
    return run == folder or run.startswith(f"{folder}/")


def _read_command(pid: int) -> tuple[str, ...]:
    try:
        command = (_PROC / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ()
    return tuple(os.fsdecode(part) for part in command.rstrip(b"\0").split(b"\0"))
