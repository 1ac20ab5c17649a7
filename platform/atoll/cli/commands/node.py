"""Runs one role of a region on a machine of its own, in the foreground, as systemd wants it: ready when it can be used,
ended in order by SIGTERM. Several roles may run on one machine.

`drain` takes whatever runs on this machine out of service without losing a request, and `undrain` puts a gateway back.
A worker that was drained has left its cluster, and ends.
"""

import argparse
import asyncio
import os
from pathlib import Path

from atoll.cell.prepare import PASSED_ON
from atoll.cell.processes import UnsupportedPlatformError
from atoll.cell.valkey import NoEmbeddedValkey
from atoll.cli.exits import CommandError, Exit
from atoll.node import run as node
from atoll.node.build import RoleName
from atoll.node.config import NodeConfig, NodeError, read_node_config
from atoll.node.role import RoleFailed
from atoll.rpc import RpcError, SocketPathError
from atoll.secrets import SecretError

CONFIG = Path("/etc/atoll/node.toml")
DRAIN, UNDRAIN = "drain", "undrain"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "role",
        metavar="ROLE",
        choices=[*(name.value for name in RoleName), DRAIN, UNDRAIN],
        help=f"{', '.join(RoleName)}; or {DRAIN}, {UNDRAIN}",
    )
    parser.add_argument(
        "--config", metavar="FILE", type=Path, default=CONFIG, help="this machine's file (%(default)s)"
    )
    parser.add_argument(
        "--check", action="store_true", help="only say whether this machine has all that the role needs"
    )
    parser.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=float,
        default=60.0,
        help="how long draining may take (%(default)s)",
    )


def run(arguments: argparse.Namespace) -> Exit:
    try:
        config = read_node_config(arguments.config)
        if arguments.role == DRAIN:
            return _drain(config, arguments.deadline)
        if arguments.role == UNDRAIN:
            asyncio.run(node.undrain(config))
            return Exit.SUCCESS
        return _run(RoleName(arguments.role), config, only_check=arguments.check)
    except (NodeError, SecretError, NoEmbeddedValkey, UnsupportedPlatformError) as error:
        raise CommandError(str(error), Exit.USAGE) from error
    except (RoleFailed, RpcError, SocketPathError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename or arguments.role}: {error.strerror or error}") from error


def _run(name: RoleName, config: NodeConfig, *, only_check: bool) -> Exit:
    if only_check:
        node.check(name, config)
        print(f"this machine can run {name} of {config.region}")
        return Exit.SUCCESS
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    asyncio.run(node.run(name, config, os.environ, kept))
    return Exit.SUCCESS


def _drain(config: NodeConfig, deadline_s: float) -> Exit:
    drained = asyncio.run(node.drain(config, deadline_s))
    if not drained:
        raise CommandError(f"no role runs on this machine ({config.run}); nothing was drained")
    if late := [name for name, done in drained.items() if not done]:
        raise CommandError(f"not drained within {deadline_s:.0f} s: {', '.join(late)}")
    print(f"drained: {', '.join(drained)}")
    return Exit.SUCCESS
