"""Kills, freezes, cuts, slows, throttles, fills, starves, skews or limps something on this machine, or heals it. Faults
stay until they are healed.

A target is a region (eu-west), a process of one (eu-west/gateway-1, eu-west/ray), one replica of a service
(eu-west/replica/quote), or the entry. Serve replaces a replica that was killed; its successor is killed as well, until
healed. A link is between two regions, or a region and the entry; one name alone means all links of that region.
"""

import argparse
from collections.abc import Awaitable

from atoll.cell.client import SupervisorClient
from atoll.cell.mechanisms import MECHANISMS
from atoll.cli import run as running
from atoll.cli.exits import Exit
from atoll.cli.values import duration, rate, share


def configure(parser: argparse.ArgumentParser) -> None:
    faults = parser.add_subparsers(title="faults", metavar="FAULT", dest="fault", required=True)

    kill = faults.add_parser(
        "kill", help="SIGKILL a region, a process or a replica; it stays down until healed"
    )
    freeze = faults.add_parser(
        "freeze", help="stop a region, a process or a replica without ending it (SIGSTOP)"
    )
    for fault in (kill, freeze):
        fault.add_argument("target", metavar="REGION[/PROCESS]", help="or REGION/replica/SERVICE, or entry")
    fill = faults.add_parser("fill", help="no file of a process takes a write, as on a full disk")
    starve = faults.add_parser("starve", help="a store may use no more memory")
    for fault in (fill, starve):
        fault.add_argument("target", metavar="REGION/PROCESS", help="eu-west/state, eu-west/cache")
    skew = faults.add_parser(
        "skew", help="the clock of a state store, which stamps its region's writes, is off"
    )
    skew.add_argument("target", metavar="REGION/state")
    way = skew.add_mutually_exclusive_group(required=True)
    for name in ("ahead", "behind"):
        way.add_argument(f"--{name}", type=duration(most_s=86_400), metavar="DURATION", help="20s, 5min")
    limp = faults.add_parser("limp", help="a replica gets a share of the time alone: it answers, but slowly")
    limp.add_argument("target", metavar="REGION/replica/SERVICE")
    limp.add_argument("--share", type=share, required=True, metavar="SHARE", help="of the time, as 0.2")
    missing = faults.add_parser("without", help="gateways do without a mechanism, to see what it is good for")
    missing.add_argument(
        "target", metavar="MECHANISM", choices=sorted(MECHANISMS), help=", ".join(MECHANISMS)
    )

    cut = faults.add_parser("cut", help="nothing gets through a link, and nobody is told")
    slow = faults.add_parser("slow", help="a link takes longer")
    slow.add_argument(
        "--latency", type=duration(most_s=60), required=True, metavar="DURATION", help="one way: 400ms"
    )
    throttle = faults.add_parser("throttle", help="a link carries less")
    throttle.add_argument(
        "--rate", type=rate, required=True, metavar="SIZE", help="a second, each way: 64KiB"
    )
    for fault in (cut, slow, throttle):
        fault.add_argument("a", metavar="A", help="a region, or entry")
        fault.add_argument("b", metavar="B", nargs="?", help="the other end; all links of A by default")
        fault.add_argument("--one-way", action="store_true", help="from A to B only")

    heal = faults.add_parser("heal", help="end faults: all of them, a region's, a process's or a link's")
    heal.add_argument(
        "target", metavar="REGION[/PROCESS]", nargs="?", help="or a mechanism; everything by default"
    )
    heal.add_argument("other", metavar="B", nargs="?", help="with a second end: the link between the two")


def run(arguments: argparse.Namespace) -> Exit:
    running.operate(lambda supervisor, _: _apply(supervisor, arguments))
    print(describe(arguments))
    return Exit.SUCCESS


def _apply(supervisor: SupervisorClient, arguments: argparse.Namespace) -> Awaitable[None]:
    match arguments.fault:
        case "kill":
            return supervisor.kill(arguments.target)
        case "freeze":
            return supervisor.freeze(arguments.target)
        case "fill":
            return supervisor.fill(arguments.target)
        case "starve":
            return supervisor.starve(arguments.target)
        case "skew":
            return supervisor.skew(arguments.target, by_s=arguments.ahead or -arguments.behind)
        case "limp":
            return supervisor.limp(arguments.target, share=arguments.share)
        case "without":
            return supervisor.without(arguments.target)
        case "cut":
            return supervisor.cut(arguments.a, arguments.b, one_way=arguments.one_way)
        case "slow":
            return supervisor.slow(
                arguments.a, arguments.b, latency_s=arguments.latency, one_way=arguments.one_way
            )
        case "throttle":
            return supervisor.throttle(
                arguments.a, arguments.b, rate_bytes_per_s=arguments.rate, one_way=arguments.one_way
            )
    return supervisor.heal(arguments.target, arguments.other)


def describe(arguments: argparse.Namespace) -> str:
    """What is in force now."""
    match arguments.fault:
        case "kill":
            return f"{arguments.target} is killed; `atoll fault heal {arguments.target}` brings it back."
        case "freeze":
            return f"{arguments.target} is frozen; `atoll fault heal {arguments.target}` lets it go on."
        case "fill":
            return (
                f"The disk of {arguments.target} is full; `atoll fault heal {arguments.target}` makes room."
            )
        case "starve":
            return f"{arguments.target} may use no more memory; `atoll fault heal {arguments.target}` gives it back."
        case "skew":
            off = f"{arguments.ahead:g} s ahead" if arguments.ahead else f"{arguments.behind:g} s behind"
            return f"The clock of {arguments.target} is {off}; `atoll fault heal {arguments.target}` puts it right."
        case "limp":
            return (
                f"{arguments.target} gets {arguments.share:.0%} of the time; `atoll fault heal {arguments.target}` "
                "gives it all."
            )
        case "without":
            return f"Gateways do without {arguments.target}; `atoll fault heal {arguments.target}` turns it on again."
        case "heal":
            if arguments.other is not None:
                return f"The link {arguments.target} - {arguments.other} is healed."
            return (
                f"{arguments.target} is healed." if arguments.target is not None else "Everything is healed."
            )
    arrow = "->" if arguments.one_way else "-"
    link = f"{arguments.a} {arrow} {arguments.b if arguments.b is not None else 'everything'}"
    match arguments.fault:
        case "slow":
            effect = f"takes {arguments.latency * 1000:g} ms one way"
        case "throttle":
            effect = f"carries {arguments.rate / 1024:g} KiB/s each way"
        case _:
            effect = "is cut"
    ends = f"{arguments.a} {arguments.b}" if arguments.b is not None else arguments.a
    return f"{link} {effect}; `atoll fault heal {ends}` ends it."
