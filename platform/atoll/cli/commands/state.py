"""Looks into the replicated state of the regions that run here, compares them, and repairs them.

All regions are asked, side by side, but those outside a namespace's residency, which hold nothing of it. `verify` ends
with 0 if all are alike, 1 if some differ, 4 if that could not be told in time.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import TypeAdapter

from atoll.agent.inspection import MOST_KEYS, ConflictsQuestion, GetQuestion, KeyKind, KeysQuestion
from atoll.cli import output, render_state
from atoll.cli import run as running
from atoll.cli import state_documents as documents
from atoll.cli.exits import CommandError, Exit
from atoll.cli.progress import progress_display
from atoll.cli.state_documents import LagDocument, RepairDocument
from atoll.cli.state_regions import StateRegions
from atoll.cli.values import count, duration

T = TypeVar("T")

LIMIT = 100
PATIENCE_S = 30.0


def configure(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)

    get = verbs.add_parser("get", help="show a key as each region has it, and where they differ")
    get.add_argument("namespace", metavar="NAMESPACE")
    get.add_argument("key", metavar="KEY")
    get.add_argument(
        "--kind", choices=[kind.value for kind in KeyKind], help="whatever is under this key by default"
    )
    keys = verbs.add_parser("keys", help="list the keys of a namespace")
    keys.add_argument("namespace", metavar="NAMESPACE")
    keys.add_argument("--prefix", default="", metavar="TEXT", help="those only that begin so")
    conflicts = verbs.add_parser("conflicts", help="list concurrent writes of a cell; never values")
    conflicts.add_argument("--namespace", metavar="NAMESPACE", help="all by default")
    verbs.add_parser("lag", help="show how far each region is behind each other one")
    verify = verbs.add_parser("verify", help="compare the regions' digests")
    verify.add_argument("namespace", metavar="NAMESPACE", nargs="?", help="all by default")
    repair = verbs.add_parser("repair", help="have regions that differ take over what they lack")
    repair.add_argument("namespace", metavar="NAMESPACE")

    for verb in (get, keys, repair):
        verb.add_argument("--region", metavar="REGION", help="this one only; all by default")
    for verb in (keys, conflicts):
        verb.add_argument(
            "--limit", type=_limit, default=LIMIT, metavar="N", help=f"at most so many (default: {LIMIT})"
        )
    for verb in (verify, repair):
        verb.add_argument(
            "--timeout",
            type=duration(most_s=3600),
            default=PATIENCE_S,
            metavar="DURATION",
            help=f"how long to wait for what is on its way, a region (default: {PATIENCE_S:g}s)",
        )
    for name, verb in verbs.choices.items():
        verb.add_argument(
            "--json", action="store_true", help=f"print one JSON document, atoll.state-{name}/1"
        )


def run(arguments: argparse.Namespace) -> Exit:
    screen = output.console()
    match arguments.verb:
        case "get":
            asked = GetQuestion(namespace=arguments.namespace, key=arguments.key, kind=arguments.kind)
            got = _ask(lambda regions: regions.get(asked), arguments.region)
            _show(arguments, documents.GET, got, lambda: render_state.print_get(screen, got))
        case "keys":
            wanted = KeysQuestion(
                namespace=arguments.namespace, prefix=arguments.prefix, limit=arguments.limit
            )
            keys = _ask(lambda regions: regions.keys(wanted), arguments.region)
            _show(arguments, documents.KEYS, keys, lambda: render_state.print_keys(screen, keys))
        case "conflicts":
            about = ConflictsQuestion(namespace=arguments.namespace, limit=arguments.limit)
            found = _ask(lambda regions: regions.conflicts(about))
            _show(arguments, documents.CONFLICTS, found, lambda: render_state.print_conflicts(screen, found))
        case "lag":
            lag = _lag()
            _show(arguments, documents.LAG, lag, lambda: render_state.print_lag(screen, lag))
        case "verify":
            checked = _ask(lambda regions: regions.verify(arguments.namespace, arguments.timeout))
            _show(arguments, documents.VERIFY, checked, lambda: render_state.print_verify(screen, checked))
            return _exit(equal=checked.equal)
        case "repair":
            mended = _repair(arguments)
            _show(arguments, documents.REPAIR, mended, lambda: render_state.print_repair(screen, mended))
            return _exit(equal=mended.equal)
    return Exit.SUCCESS


def _show(
    arguments: argparse.Namespace, form: TypeAdapter[T], document: T, print_it: Callable[[], None]
) -> None:
    if arguments.json:
        output.print_json(form.dump_json(document, indent=2))
    else:
        print_it()


def _exit(*, equal: bool | None) -> Exit:
    if equal is None:
        return Exit.INCONCLUSIVE
    return Exit.SUCCESS if equal else Exit.FAILED_VERDICT


def _limit(text: str) -> int:
    found = count(text)
    if found > MOST_KEYS:
        raise argparse.ArgumentTypeError(f"{text!r}: it may be {MOST_KEYS} at most")
    return found


def _ask(question: Callable[[StateRegions], Awaitable[T]], only: str | None = None) -> T:
    """Asks all regions that run here, or `only` one. Raises `CommandError`."""
    status, paths = running.status(), running.here()
    if only is not None:
        running.region(status, only)
    regions = StateRegions(
        {name: paths.region(name).agent_socket for name in status.regions if only in {None, name}}
    )

    async def asked() -> T:
        return await question(regions)

    with running.foreseen():
        return asyncio.run(asked())


def _repair(arguments: argparse.Namespace) -> RepairDocument:
    async def repaired(regions: StateRegions) -> RepairDocument:
        with progress_display(output.console(sys.stderr)) as report:  # standard output is the document's
            return await regions.repair(arguments.namespace, arguments.region, arguments.timeout, report)

    return _ask(repaired)


def _lag() -> LagDocument:
    status = running.status()
    known = {name: region.state_report for name, region in status.regions.items()}
    if not any(known.values()):
        raise CommandError(
            "no region's agent tells how far it is behind; see `atoll status` for what is down"
        )
    return LagDocument(
        regions={name: report.peers for name, report in known.items() if report is not None},
        silent={
            name: f"it is {status.regions[name].state}, or its agent or state store does not answer"
            for name, report in known.items()
            if report is None
        },
    )
