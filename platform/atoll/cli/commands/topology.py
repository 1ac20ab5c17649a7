"""Checks a topology file as a whole, or makes one from what provisioning says. Starts nothing.

terraform output -json atoll | atoll topology import - --base infra/topologies/shop.toml --output topology.toml
"""

import argparse
import sys
from pathlib import Path

from atoll.cli import topology_file
from atoll.cli.exits import CommandError, Exit
from atoll.topology import SuccessionError, Topology, TopologyError, parse
from atoll.topology import read as read_text
from atoll.topology.wiring import write_private

STANDARD_INPUT = Path("-")


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    check = actions.add_parser("check", help="check a file; exit status 2 and every problem if it is refused")
    check.add_argument("file", metavar="FILE", type=Path)
    imports = actions.add_parser(
        "import",
        help="make a topology of a deployment's regions; exit status 2, and nothing changed, if that is refused",
        description="Makes a topology of the regions of a deployment, with addresses and links, and of the zones, "
        "services, namespaces and policies of a base. The revision is counted up.",
    )
    imports.add_argument(
        "file", metavar="FILE", type=Path, help="`terraform output -json atoll`; - is standard input"
    )
    imports.add_argument(
        "--base", metavar="TOPOLOGY", type=Path, help="where all else comes from; --output, if that exists"
    )
    imports.add_argument(
        "--output", metavar="FILE", type=Path, help="replaced whole or not at all; else standard output"
    )


def run(arguments: argparse.Namespace) -> Exit:
    return _check(arguments.file) if arguments.action == "check" else _import(arguments)


def _check(path: Path) -> Exit:
    print(f"{path} is sound: {_summary(topology_file.read(path))}")
    return Exit.SUCCESS


def _import(arguments: argparse.Namespace) -> Exit:
    # Here: who only checks a file needs no writer of TOML.
    from atoll.cli.topology_import import imported, read_deployment  # noqa: PLC0415

    output: Path | None = arguments.output
    current = topology_file.read(output) if output is not None and output.exists() else None
    base: Path | None = arguments.base or (output if current is not None else None)
    if base is None:
        raise CommandError(
            "name a topology with --base: zones, services, namespaces and policies come from it, such as "
            "infra/topologies/shop.toml",
            Exit.USAGE,
        )
    try:
        deployment = read_deployment(_text(arguments.file), arguments.file)
        text = imported(deployment, read_text(base), base, current)
    except (TopologyError, SuccessionError) as error:
        raise CommandError(str(error), Exit.USAGE) from error
    if text is None:
        print(f"{output} says so already")
        return Exit.SUCCESS
    if output is None:
        print(text, end="")
        return Exit.SUCCESS
    try:
        write_private(output, text.encode())
    except OSError as error:
        raise CommandError(f"{output} can't be written: {error.strerror}") from error
    print(f"{output}: {_summary(parse(text, output))}")
    return Exit.SUCCESS


def _text(path: Path) -> str:
    if path != STANDARD_INPUT:
        return read_text(path)
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise CommandError(f"standard input is not UTF-8 text: {error.reason}", Exit.USAGE) from error


def _summary(topology: Topology) -> str:
    return (
        f"{topology.name}, revision {topology.revision}, "
        f"{len(topology.zones)} zones, {len(topology.regions)} regions, {len(topology.services)} services"
    )
