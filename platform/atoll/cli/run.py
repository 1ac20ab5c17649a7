"""How commands reach what runs in this folder, and what they say when it can't be reached."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from atoll.cell.client import NotRunning, OperationFailed, StartFailed, SupervisorClient, connect
from atoll.cell.facts import AlreadyRunning
from atoll.cell.paths import RunPaths
from atoll.cell.processes import StillRunningError, UnsupportedPlatformError
from atoll.cell.progress import Report
from atoll.cell.status import RegionStatus, RunStatus
from atoll.cli import output
from atoll.cli.exits import CommandError, Exit
from atoll.cli.progress import progress_display
from atoll.rpc import SocketPathError

Answer = TypeVar("Answer")


def here() -> RunPaths:
    """The run of the folder in which the command is started."""
    return RunPaths.below(Path.cwd())


def operate(operation: Callable[[SupervisorClient, Report], Awaitable[Answer]]) -> Answer:
    """Does something with what runs here, and shows its progress. Raises `CommandError`."""

    async def connected() -> Answer:
        supervisor = await connect(here())
        with progress_display(output.console()) as report:
            return await operation(supervisor, report)

    with foreseen():
        return asyncio.run(connected())


def status() -> RunStatus:
    """All that is known of what runs here. Raises `CommandError`."""

    async def asked() -> RunStatus:
        return await (await connect(here())).status()

    with foreseen():
        return asyncio.run(asked())


def region(status: RunStatus, name: str) -> RegionStatus:
    """One region of it. Raises `CommandError` that names the known ones."""
    found = status.regions.get(name)
    if found is None:
        raise CommandError(
            f"no region {name!r} runs here; there are: {', '.join(status.regions)}", Exit.USAGE
        )
    return found


@contextmanager
def foreseen() -> Iterator[None]:
    """Turns what may go wrong with a run into the error of a command; the messages say what to do already."""
    try:
        yield
    except StartFailed as error:
        known = error.status in {Exit.USAGE, Exit.INCONCLUSIVE}
        raise CommandError(str(error), Exit(error.status) if known else Exit.FAILED) from error
    except OperationFailed as error:
        raise CommandError(str(error), Exit.USAGE if error.kind in _USAGE else Exit.FAILED) from error
    except (
        AlreadyRunning,
        NotRunning,
        SocketPathError,
        StillRunningError,
        UnsupportedPlatformError,
    ) as error:
        raise CommandError(str(error)) from error


_USAGE = {"bad-request", "no-such-region", "no-such-process", "no-such-link"}
"""Kinds of refusal that are about the words of the command."""
