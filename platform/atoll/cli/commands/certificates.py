"""Makes the certificates that cells prove their region with to each other: an authority once, then one a region.

    atoll certificates make-ca --domain atoll.internal --out ca
    atoll certificates issue eu-west --ca ca --out tls/eu-west

Keep ca-key.pem off the machines of any region: who has it can speak for every region. To renew a certificate, issue it
again. To replace the authority, make another one and append the old ca.pem to its ca.pem; let every region have that
ca.pem, then certificates of the new authority, and then a ca.pem without the old one. Files are replaced whole or not
at all, and their owner alone can read them.
"""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

from atoll.certificates import AuthorityError, issue, make_authority, open_authority
from atoll.cli.exits import CommandError, Exit
from atoll.cli.values import count
from atoll.clock import SystemClock
from atoll.topology.document import NAME
from atoll.topology.wiring import write_private

CA = "ca.pem"
CA_KEY = "ca-key.pem"
CA_DAYS = 3650
DAYS = 90
"""As long as browsers' certificates usually hold: renewing has to be a habit. Below 14 days left there are warnings."""
_DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LONGEST_DOMAIN = 190
"""A name has 253 characters at most, and role and region come before the domain."""
LONGEST_REGION = 40
"""As in the topology."""


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    make = actions.add_parser("make-ca", help="make an authority: ca.pem and ca-key.pem")
    make.add_argument("--domain", type=_domain, required=True, help="names are ROLE.REGION.DOMAIN")
    issue = actions.add_parser("issue", help="make a region's certificate: cert.pem, key.pem and ca.pem")
    issue.add_argument("region", metavar="REGION", type=_region)
    issue.add_argument(
        "--ca", type=Path, required=True, metavar="FOLDER", help="where ca.pem and ca-key.pem are"
    )
    for action, days in ((make, CA_DAYS), (issue, DAYS)):
        action.add_argument(
            "--out", type=Path, required=True, metavar="FOLDER", help="made if it is not there"
        )
        action.add_argument("--days", type=count, default=days, help=f"how long it holds (default: {days})")


def run(arguments: argparse.Namespace) -> Exit:
    now = SystemClock().wall()
    out: Path = arguments.out
    try:
        if arguments.action == "make-ca":
            _make_authority(out, arguments.domain, now, arguments.days)
        else:
            _issue(out, arguments.ca, arguments.region, now, arguments.days)
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error
    return Exit.SUCCESS


def _make_authority(out: Path, domain: str, now: float, days: int) -> None:
    certificate, key = out / CA, out / CA_KEY
    for path in (certificate, key):
        if path.exists():
            raise CommandError(
                f"{path} is there already, and every region may trust it; choose another folder", Exit.USAGE
            )
    made = make_authority(domain, now, days)
    _write(out, {key: made.key, certificate: made.certificate})
    print(
        f"{certificate} is the authority of {domain} for {days} days; keep {key} off every region's machines"
    )


def _issue(out: Path, ca: Path, region: str, now: float, days: int) -> None:
    try:
        authorities = (ca / CA).read_bytes()
        made = issue(open_authority(authorities, (ca / CA_KEY).read_bytes()), region, now, days)
    except AuthorityError as error:
        raise CommandError(f"the authority in {ca} can't be used: {error}", Exit.USAGE) from error
    _write(out, {out / "key.pem": made.key, out / "cert.pem": made.certificate, out / CA: authorities})
    print(f"{out / 'cert.pem'} speaks for {region} until {made.ends:%Y-%m-%d %H:%M} UTC")


def _write(folder: Path, files: Mapping[Path, bytes]) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, content in files.items():
        write_private(path, content)


def _domain(text: str) -> str:
    if len(text) > LONGEST_DOMAIN or not _DOMAIN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no DNS domain in lower case, such as atoll.internal")
    return text


def _region(text: str) -> str:
    if len(text) > LONGEST_REGION or not re.match(NAME, text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a region, such as eu-west")
    return text
