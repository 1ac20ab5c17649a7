"""Ends all that `atoll up` started in this folder, and what an earlier run has left behind. Touches nothing else."""

import argparse
import asyncio

from atoll.cell import client
from atoll.cell.paths import RunPaths
from atoll.cli import output
from atoll.cli import run as running
from atoll.cli.exits import CommandError, Exit
from atoll.cli.progress import progress_display


def configure(parser: argparse.ArgumentParser) -> None:
    """Takes no arguments."""


def run(_: argparse.Namespace) -> Exit:
    paths = running.here()
    with running.foreseen():
        ran, left = asyncio.run(_down(paths))
    if not ran and not left:
        raise CommandError(f"nothing runs in {paths.root}")
    if left:
        print(f"Atoll is down; {left} processes of a run that had lost its supervisor were ended.")
    else:
        print("Atoll is down.")
    return Exit.SUCCESS


async def _down(paths: RunPaths) -> tuple[bool, int]:
    """Whether something ran, and how many processes had to be reaped."""
    ran = await client.SupervisorClient(paths).answers()
    with progress_display(output.console()) as report:
        return ran, await client.down(paths, report)
