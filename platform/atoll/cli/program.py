"""Finds the command, runs it, and turns what went wrong into a message and an exit status.

Only the module of the command that is asked for is imported: `atoll --help` needs neither pydantic nor rich.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, cast

from atoll import __version__
from atoll.cli.exits import CommandError, Exit

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "up": "start every region and the entry",
        "down": "stop all that `atoll up` started",
        "status": "show regions, processes, replicas and health",
        "deploy": "send the services to every region, one after the other",
        "drain": "take a region out of service without losing a request",
        "undrain": "put a drained region back into service",
        "explain": "say where a client's request goes, and why",
        "simulate": "run a scenario of faults on a virtual clock",
        "fault": "kill, cut, slow, throttle or freeze something, or heal it",
        "drill": "rehearse a fault under load, with a verdict",
        "logs": "show what the processes log",
        "dashboard": "say where a region's Ray dashboard is",
        "state": "look into the replicated state, compare and repair regions",
        "certificates": "make the certificates that cells show each other",
        "node": "run one role of a region on a machine of its own, or drain it",
        "topology": "check a topology file, or make one of what was provisioned",
    }
)
"""Name and summary of every command; the module `atoll.cli.commands.<name>` has the rest."""

_EPILOG = """\
exit status: 0 success, 1 failed verdict, 2 usage or invalid file, 3 operation failed or nothing running,
4 inconclusive or aborted, 130 interrupted
"""


class Command(Protocol):
    """What a module in `atoll.cli.commands` offers."""

    __doc__: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declares the command's arguments."""

    def run(self, arguments: argparse.Namespace) -> Exit:
        """Does the work. Raises `CommandError` for what can be foreseen."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line (the process's own by default) and returns the exit status.

    Wrong usage ends as argparse does: `SystemExit` with status 2.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    chosen = next((word for word in words if not word.startswith("-")), None)
    command = None if chosen is None else _command(chosen)
    arguments = _parser(chosen, command).parse_args(words)
    assert command is not None
    try:
        return command.run(arguments)
    except CommandError as error:
        print(f"atoll {chosen}: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print(f"atoll {chosen}: interrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has had enough (`atoll status | head`). Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED


def _command(name: str) -> Command | None:
    if name not in COMMANDS:
        return None
    return cast(Command, importlib.import_module(f"atoll.cli.commands.{name}"))


def _parser(chosen: str | None, command: Command | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="atoll",
        description="Runs a stateless HTTP service in many regions as if it were one.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"atoll {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        description = command.__doc__ if command is not None and name == chosen else None
        subparser = commands.add_parser(
            name,
            help=summary,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if command is not None and name == chosen:
            command.configure(subparser)
    return parser
