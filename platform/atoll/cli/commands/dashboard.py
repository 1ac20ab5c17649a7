"""Says where the Ray dashboards are, and where the token is that they ask for."""

import argparse

from atoll.cli import output
from atoll.cli import run as running
from atoll.cli.exits import Exit


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("region", metavar="REGION", nargs="?", help="one region; all of them by default")


def run(arguments: argparse.Namespace) -> Exit:
    status = running.status()
    names = list(status.regions) if arguments.region is None else [arguments.region]
    paths = running.here()
    rows = output.table("Region", "Ray dashboard", "Token file")
    for name in names:
        rows.add_row(name, running.region(status, name).dashboard_url, str(paths.region(name).ray_token))
    console = output.console()
    console.print(rows)
    console.print()
    console.print("The dashboard asks for the token when you open it: paste the content of the token file.")
    console.print('A program sends it as "Authorization: Bearer TOKEN".')
    return Exit.SUCCESS
