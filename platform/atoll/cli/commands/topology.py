"""Checks a topology file as a whole, without starting or changing anything."""

import argparse
from pathlib import Path

from atoll.cli import topology_file
from atoll.cli.exits import Exit


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="check a file; exit status 2 and every problem if it is refused")
    check.add_argument("file", metavar="FILE", type=Path)


def run(arguments: argparse.Namespace) -> Exit:
    path: Path = arguments.file
    topology = topology_file.read(path)
    print(
        f"{path} is sound: {topology.name}, revision {topology.revision}, "
        f"{len(topology.zones)} zones, {len(topology.regions)} regions, {len(topology.services)} services"
    )
    return Exit.SUCCESS
