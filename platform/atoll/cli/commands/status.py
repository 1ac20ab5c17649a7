"""Shows every region with its processes, replicas, health as the others see it, load and addresses."""

import argparse

from atoll.cell.status import RUN_STATUS
from atoll.cli import output, render
from atoll.cli import run as running
from atoll.cli.exits import Exit


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document, atoll.status/1")


def run(arguments: argparse.Namespace) -> Exit:
    status = running.status()
    if arguments.json:
        output.print_json(RUN_STATUS.dump_json(status, indent=2))
    else:
        render.print_status(output.console(), status)
    return Exit.SUCCESS
