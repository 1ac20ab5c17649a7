"""Starts every region of a topology, and the entry. Stays in front until Ctrl-C, which ends all of it; with --detach
it returns when all is ready, and `atoll down` ends it.

Where it runs already and regions were added to the file or taken out of it, these are started or ended while the others
serve; interrupted, it is completed by the next `atoll up`.

ATOLL_PORT_BASE moves all ports, so that two checkouts can run side by side.
"""

import argparse
import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from atoll.cell import client
from atoll.cell.facts import is_locked
from atoll.cell.paths import RunPaths
from atoll.cell.status import RunStatus
from atoll.cli import output, render, topology_file
from atoll.cli import run as running
from atoll.cli.exits import CommandError, Exit
from atoll.cli.progress import progress_display
from atoll.cli.values import count
from atoll.topology import Topology

WATCH_S = 0.5


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--topology",
        metavar="FILE",
        type=Path,
        default=topology_file.DEFAULT,
        help=f"what to start (default: {topology_file.DEFAULT})",
    )
    parser.add_argument("--regions", metavar="N", type=count, help="only the first N regions of it")
    parser.add_argument(
        "--detach", action="store_true", help="return when all is ready, and leave it running"
    )


def run(arguments: argparse.Namespace) -> Exit:
    topology = topology_file.read(arguments.topology, arguments.regions)
    options = client.LaunchOptions(
        topology_file=arguments.topology,
        regions=arguments.regions,
        port_base=port_base(os.environ),
        detach=arguments.detach,
    )
    with running.foreseen():
        return asyncio.run(_up(running.here(), topology, options, output.console()))


def port_base(environment: Mapping[str, str]) -> int | None:
    """The value of ATOLL_PORT_BASE. Raises `CommandError` if it is no port."""
    text = environment.get("ATOLL_PORT_BASE", "")
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise CommandError(
            f"ATOLL_PORT_BASE={text}: give a port number, such as 21000, or unset it", Exit.USAGE
        )
    return int(text)


async def _up(paths: RunPaths, topology: Topology, options: client.LaunchOptions, console: Console) -> Exit:
    if is_locked(paths):
        return await _already(client.SupervisorClient(paths), topology, options, console)
    try:
        supervisor = await client.launch(paths, options)
        await _ready(supervisor, topology, console)
        if options.detach:
            console.print("It runs until `atoll down`.")
            return Exit.SUCCESS
        console.print("It runs until Ctrl-C.")
        return await _watch(supervisor, console)
    except asyncio.CancelledError:
        # Ctrl-C. A second one ends this command at once; the supervisor carries on ending the run.
        console.print("Ending what was started.")
        with progress_display(console) as report:
            await client.down(paths, report)
        raise


async def _ready(supervisor: client.SupervisorClient, topology: Topology, console: Console) -> None:
    """Waits for all regions and shows where they are."""
    with progress_display(console, tuple(topology.regions)) as report:
        try:
            await supervisor.ready(report)
        except client.OperationFailed as failed:
            raise CommandError(
                f"{failed}\nWhat came up is left running: look with `atoll status` and `atoll logs`, "
                "try again with `atoll deploy`, end it with `atoll down`."
            ) from failed
    _show(await supervisor.status(), console)


def _show(status: RunStatus, console: Console) -> None:
    render.print_summary(console, status)
    service = next((name for region in status.regions.values() for name in region.replicas), None)
    if service is not None:
        console.print(f"Try: atoll explain --client 133.242.0.1 --service {service}")


async def _already(
    supervisor: client.SupervisorClient,
    topology: Topology,
    options: client.LaunchOptions,
    console: Console,
) -> Exit:
    """Adds and removes regions, if the file has others than those that run. A second `up --detach` of the same thing is
    no error; anything else is.
    """
    status = await supervisor.status()
    if Path(status.topology_file).resolve() != options.topology_file.resolve():
        raise CommandError(
            f"{status.topology} with {', '.join(status.regions)} ({status.topology_file}) runs here already; "
            "end it with `atoll down`, or start in another checkout with another ATOLL_PORT_BASE"
        )
    with progress_display(console, tuple(topology.regions)) as report:
        changed = await supervisor.regions(report, regions=options.regions)
    if changed:
        console.print(f"It runs here already; {changed}.")
        _show(await supervisor.status(), console)
        return Exit.SUCCESS
    if not options.detach:
        raise CommandError(
            "it runs here already, in the background or in another terminal; look with `atoll status`, "
            "end it with `atoll down`"
        )
    console.print("It runs here already.")
    await _ready(supervisor, topology, console)
    return Exit.SUCCESS


async def _watch(supervisor: client.SupervisorClient, console: Console) -> Exit:
    """Stays until the run ends: by `atoll down` elsewhere, or because its supervisor died."""
    while await supervisor.answers():  # noqa: ASYNC110  it is another process that ends
        await asyncio.sleep(WATCH_S)
    left = await client.reap(supervisor.paths)
    if left:
        raise CommandError(
            f"the supervisor died, and {left} processes that it left were ended; "
            f"see {supervisor.paths.log('supervisor')}"
        )
    console.print("Atoll has been ended.")
    return Exit.SUCCESS
