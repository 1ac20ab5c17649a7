"""``python -m atoll.cell.supervisor --root .atoll --topology FILE``: owns a run. Started by `atoll up`.

Says on standard error why it doesn't start. Exit status: 0 the run was ended in order, 2 a topology or a port base that
can't be used, 3 something else in the way: a run is up already, a port is taken, a process can't be ended.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random

from atoll.cell import processes
from atoll.cell.answer import Supervisor
from atoll.cell.facts import AlreadyRunning, RunLock
from atoll.cell.paths import PathTooLong, RunPaths
from atoll.cell.ports import PortsError
from atoll.cell.prepare import Wish, check, prepare
from atoll.cell.processes import StillRunningError, UnsupportedPlatformError
from atoll.cell.reap import remove_ray_folders
from atoll.cell.reaper import become_subreaper, reap_adopted
from atoll.cell.run import Run
from atoll.cell.space_check import NoSpaceError
from atoll.cell.watch import set_on_signals, set_when_gone, set_when_missing
from atoll.clock import SystemClock
from atoll.rpc import SocketPathError, serve_streaming
from atoll.secrets import SecretError
from atoll.telemetry.logs import configure
from atoll.topology import TopologyError

log = logging.getLogger(__name__)


async def supervise(paths: RunPaths, wish: Wish, owner: int | None, environment: Mapping[str, str]) -> None:
    """Runs until told to stop, or until the process `owner` is gone. Raises what `main` turns into an exit status."""
    become_subreaper()
    stop, hurry, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    set_on_signals(stop, hurry)
    own = processes.identify(os.getpid())
    assert own is not None, "a running process has an identity"
    clock = SystemClock()
    plan = await prepare(paths, wish, environment, own, clock)
    with paths.log("supervisor").open("a", encoding="utf-8") as output:
        configure(output, logging.INFO, static={"process": "supervisor"})
        logging.getLogger("httpx").setLevel(logging.WARNING)
        log.info("run begins", extra={"run": plan.facts.run, "topology": plan.topology.name})
        run = Run(plan, paths, clock, Random())
        supervisor = Supervisor(run, clock, stop, ended)
        tasks = [
            asyncio.create_task(reap_adopted()),
            asyncio.create_task(set_when_missing(paths.facts, stop)),
        ]
        if owner is not None:
            owner_id = processes.identify(owner)
            if owner_id is None:
                stop.set()
            else:
                tasks.append(asyncio.create_task(set_when_gone(owner_id, stop)))
        try:
            async with await serve_streaming(paths.supervisor_socket, supervisor.handle):
                try:
                    await run.run(stop, hurry)
                    remove_ray_folders(plan.facts)
                finally:
                    ended.set()
                    await supervisor.answered()
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        log.info("run ended", extra={"run": plan.facts.run})


def main() -> int:
    parser = argparse.ArgumentParser(prog="atoll.cell.supervisor", description="Owns a run of Atoll.")
    parser.add_argument("--root", type=Path, required=True, help="the run's folder")
    parser.add_argument("--topology", type=Path, required=True)
    parser.add_argument("--regions", type=int, help="only the first so many regions")
    parser.add_argument("--port-base", type=int)
    parser.add_argument("--owner", type=int, metavar="PID", help="end the run when this process has ended")
    arguments = parser.parse_args()
    paths = RunPaths(arguments.root.resolve())
    wish = Wish(arguments.topology.resolve(), arguments.regions, arguments.port_base)
    try:
        check(wish)  # before the lock: what can't be used must not even wait for a run that ends
        lock = RunLock(paths)
        try:
            asyncio.run(supervise(paths, wish, arguments.owner, dict(os.environ)))
        finally:
            lock.release()
    except (TopologyError, PathTooLong) as error:
        return _refuse(error, 2)
    except (
        AlreadyRunning,
        PortsError,
        SecretError,
        SocketPathError,
        NoSpaceError,
        StillRunningError,
        UnsupportedPlatformError,
        OSError,
    ) as error:
        return _refuse(error, 3)
    return 0


def _refuse(error: Exception, status: int) -> int:
    if (
        logging.getLogger().hasHandlers()
    ):  # else the run has not begun, and who started it reads standard error
        log.error("the run ends: %s", error)
    print(error, file=sys.stderr)  # noqa: T201
    return status


if __name__ == "__main__":
    sys.exit(main())
