"""Puts a drained region back into service."""

import argparse

from atoll.cli import run as running
from atoll.cli.exits import Exit


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("region", metavar="REGION")


def run(arguments: argparse.Namespace) -> Exit:
    region: str = arguments.region
    running.operate(lambda supervisor, _: supervisor.undrain(region))
    print(f"{region} is in service again.")
    return Exit.SUCCESS
