"""Takes a region out of service without losing a request: new ones go to other regions, those in flight end here."""

import argparse

from atoll.cli import run as running
from atoll.cli.exits import Exit
from atoll.cli.values import duration


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("region", metavar="REGION")
    parser.add_argument(
        "--timeout",
        type=duration(most_s=24 * 3600),
        default=60.0,
        metavar="DURATION",
        help="how long to wait for requests in flight (default: 60s); the region stays drained either way",
    )


def run(arguments: argparse.Namespace) -> Exit:
    region: str = arguments.region
    timeout_s: float = arguments.timeout
    running.operate(lambda supervisor, report: supervisor.drain(region, timeout_s, report))
    print(f"{region} is drained: nothing is in flight there. Put it back with `atoll undrain {region}`.")
    return Exit.SUCCESS
