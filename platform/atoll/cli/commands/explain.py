"""Says where a client's request goes, and why: which gateway steering sends the client to, and which region
routing has the request served by, with every region considered.
"""

import argparse
from collections.abc import Sequence
from ipaddress import ip_address

from pydantic import ValidationError

from atoll.cell.status import RunStatus
from atoll.cli import output, render
from atoll.cli import run as running
from atoll.cli.ask import ask
from atoll.cli.exits import CommandError, Exit
from atoll.routing import EXPLAIN, ExplainDocument


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--client", metavar="ADDRESS", required=True, type=_address, help="the client's IP address"
    )
    parser.add_argument("--service", metavar="NAME", required=True, help="the service that is asked for")
    parser.add_argument(
        "--from",
        metavar="REGION",
        dest="region",
        help="the region whose gateway has the request; where steering sends the client by default",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document, atoll.explain/1")


def run(arguments: argparse.Namespace) -> Exit:
    status = running.status()
    parameters = {"client": arguments.client, "service": arguments.service}
    if arguments.region is not None:
        parameters["from"] = arguments.region
    token_file = running.here().admin_token
    document = _read(ask(_gateways(status, arguments.region), "/-/explain", parameters, token_file))
    if arguments.json:
        output.print_json(EXPLAIN.dump_json(document, indent=2))
    else:
        render.print_explanation(output.console(), document)
    return Exit.SUCCESS


def _gateways(status: RunStatus, region: str | None) -> Sequence[str]:
    """Admin addresses of whoever may be asked: the entry, or the gateways of the region."""
    if region is None:
        return (status.entry_admin_url,)
    return [gateway.admin_url for gateway in running.region(status, region).gateways]


def _read(body: bytes) -> ExplainDocument:
    try:
        return EXPLAIN.validate_json(body)
    except ValidationError as error:
        raise CommandError(
            "the gateway's answer is no atoll.explain/1: it runs another version than this command; "
            "`atoll down`, then `atoll up`"
        ) from error


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no IP address, such as 81.2.69.142 or 2a02:8388::1"
        ) from None
