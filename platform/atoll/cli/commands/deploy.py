"""Sends the services to every region, one region after the other, waits until each is healthy, and stops at the first
that fails. --rollback goes back to the last set that was healthy.
"""

import argparse

from atoll.cli import run as running
from atoll.cli.exits import Exit


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rollback", action="store_true", help="go back to the last set that was healthy")


def run(arguments: argparse.Namespace) -> Exit:
    rollback: bool = arguments.rollback
    running.operate(lambda supervisor, report: supervisor.deploy(report, rollback=rollback))
    print(
        "Every region is back at its last good set."
        if rollback
        else "Every region runs what the topology says."
    )
    return Exit.SUCCESS
