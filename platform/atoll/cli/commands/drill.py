"""Rehearses a fault under load and gives a verdict: checks the steady state, injects, observes, heals, checks recovery.

The exit status is the verdict: 0 passed, 1 failed, 4 inconclusive or aborted. Ctrl-C heals first. Reports go to
build/drills/NAME.json and NAME.html.
"""

import argparse
import asyncio
from pathlib import Path

from atoll.cell.mechanisms import MECHANISMS
from atoll.cli import output
from atoll.cli import run as running
from atoll.cli.exits import CommandError, Exit
from atoll.cli.values import positive

OUT = Path("build/drills")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "drill", metavar="NAME", nargs="?", help="of a drill (see --list), or a scenario file"
    )
    parser.add_argument("--list", action="store_true", help="say which drills there are, and end")
    parser.add_argument("--short", action="store_true", help="the short form, as in continuous integration")
    parser.add_argument("--rate", type=positive, metavar="N", help="visits a second instead of the file's")
    parser.add_argument("--seed", type=int, default=0, help="of the users (default: 0)")
    parser.add_argument("--against", type=Path, metavar="OLD.json", help="compare with an earlier report")
    parser.add_argument(
        "--without",
        choices=sorted(MECHANISMS),
        metavar="MECHANISM",
        help=f"turn it off: {', '.join(MECHANISMS)}",
    )
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="DIR", help=f"of the reports (default: {OUT})"
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON document")
    parser.add_argument("--entry", metavar="URL", help="a deployment elsewhere, instead of what runs here")
    parser.add_argument(
        "--yes", action="store_true", help="don't ask before load goes to a deployment elsewhere"
    )


def run(arguments: argparse.Namespace) -> Exit:
    try:
        from loadtests.drills import command  # noqa: PLC0415  an installation without its extra has no locust
    except ModuleNotFoundError as error:
        raise CommandError(
            f"drills need what is not installed here ({error.name}): start in a checkout, or install Atoll with its "
            "extra `load`"
        ) from error
    if arguments.list or arguments.drill is None:
        if not arguments.list:
            raise CommandError("which drill? `atoll drill --list` says which there are", Exit.USAGE)
        command.print_drills(output.console())
        return Exit.SUCCESS
    options = command.Options(
        short=arguments.short,
        rate=arguments.rate,
        seed=arguments.seed,
        against=arguments.against,
        without=arguments.without or "",
        out=arguments.out,
        json=arguments.json,
        entry=arguments.entry,
        yes=arguments.yes,
    )
    with running.foreseen():
        return asyncio.run(command.drill(arguments.drill, options, running.here()))
