"""``python -m atoll.cell.links --config FILE``: runs the links until SIGTERM or SIGINT.

Exit status: 0 ended by a signal, 2 an unusable configuration, 3 a port or the control socket can't be opened.
Ready when the control socket answers.
"""

import argparse
import asyncio
import logging
import resource
import signal
import sys
from pathlib import Path

import uvloop

from atoll.cell.links.config import LinksConfig, LinksConfigError, read_links_config
from atoll.cell.links.control import serve_control
from atoll.cell.links.network import Network
from atoll.clock import SystemClock
from atoll.rpc import SocketPathError
from atoll.telemetry.logs import configure


async def run(config: LinksConfig, config_file: Path) -> None:
    """Relays until a signal comes. Raises `OSError` and `SocketPathError` for what can't be opened."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    network = Network(config, SystemClock())
    try:
        network.start()
        async with await serve_control(config.control, network, config_file):
            await stop.wait()
    finally:
        await network.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="atoll.cell.links", description="The network between cells on one machine."
    )
    parser.add_argument(
        "--config", type=Path, required=True, help="what to relay (JSON, written by the supervisor)"
    )
    arguments = parser.parse_args()
    configure(sys.stderr, logging.INFO, static={"process": "links"})
    try:
        config = read_links_config(arguments.config)
    except LinksConfigError as error:
        parser.exit(2, f"{error}\n")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two sockets a connection
    try:
        uvloop.run(run(config, arguments.config))
    except (OSError, SocketPathError) as error:
        parser.exit(3, f"{error.strerror if isinstance(error, OSError) else error}\n")


if __name__ == "__main__":
    main()
