"""Sends the services to every region, one region after the other, waits until each is healthy, and stops at the first
that fails. Regions that are starting are waited for first. --rollback goes back to the last set that was healthy.
"""

import argparse

from atoll.cli import run as running
from atoll.cli.exits import Exit


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rollback",
        action="store_true",
        help="take the last deployment back, in the regions that it changed",
    )


def run(arguments: argparse.Namespace) -> Exit:
    rollback: bool = arguments.rollback
    running.operate(lambda supervisor, report: supervisor.deploy(report, rollback=rollback))
    print("The last deployment is taken back." if rollback else "Every region runs what the topology says.")
    return Exit.SUCCESS
