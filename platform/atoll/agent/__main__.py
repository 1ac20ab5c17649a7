"""``python -m atoll.agent --config FILE``: reports on its cell, and keeps its state in step with others, until SIGTERM.

Exit status: 0 ended by a signal, 2 an unusable configuration or secret, 3 the socket or the port can't be opened.
"""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import uvloop

from atoll.agent.config import AgentConfig, load_topology, read_agent_config
from atoll.agent.figures import gather
from atoll.agent.inspect import Inspector
from atoll.agent.moves import MOVES_REPORT, moves_of
from atoll.agent.observe import Observer
from atoll.agent.report import CELL_REPORT, CellReport
from atoll.agent.state import StateAgent
from atoll.channel import serve_channels
from atoll.clock import SystemClock
from atoll.heap import settle_heap
from atoll.rpc import Document, Progress, RpcError, SocketPathError, serve_streaming
from atoll.secrets import SecretError, read_secret
from atoll.state.marker import MarkerError
from atoll.telemetry.logs import configure
from atoll.topology import SuccessionError, Topology, TopologyError, load
from atoll.topology.wiring import WiringError

INTERVAL_S = 1.0

log = logging.getLogger(__name__)


async def run(config: AgentConfig, config_file: Path) -> None:
    """Looks every second, and answers ``report`` with what it saw last, and operators' questions; replicates
    meanwhile.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    secret = read_secret(config.agent_token_file).encode()
    topology = _topology(config)
    state = StateAgent(config, secret, topology, SystemClock(), Random())
    inspector = Inspector(config.region, state, SystemClock())
    observer = Observer(config, SystemClock())

    async def look() -> CellReport:
        report, figures = await asyncio.gather(observer.observe(), gather(state))
        return replace(report, state=figures, certificate=state.certificate)

    latest = await look()

    async def handle(method: str, params: Document, progress: Progress) -> Document:
        if method in inspector.methods:
            return await inspector.answer(method, params, progress)
        if method == "moves":
            moves: Document = MOVES_REPORT.dump_python(await moves_of(config.region, state), mode="json")
            return moves
        if method != "report":
            known = ", ".join(("report", "moves", *inspector.methods))
            raise RpcError("no-such-method", f"an agent has no method {method!r}; it has: {known}")
        document: Document = CELL_REPORT.dump_python(latest, mode="json")
        return document

    try:
        async with (
            await serve_channels(config.listen, secret, config.region, state.purposes, tls=state.serving),
            await serve_streaming(config.socket, handle),
            asyncio.TaskGroup() as group,
        ):
            replicating = group.create_task(state.run())
            settle_heap()
            wired = config
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(INTERVAL_S):
                        await stop.wait()
                if (found := _read_again(config_file, wired)) != wired:
                    wired = found
                    await state.rewire(wired)
                    observer.use(wired)
                latest = await look()
            replicating.cancel()
    finally:
        await state.close()
        await observer.close()


def _topology(config: AgentConfig) -> Topology:
    """The topology as it is now; if that can't be used, what the others in the cell began with. Raises `TopologyError`,
    `SuccessionError`.
    """
    try:
        return load_topology(config)
    except (TopologyError, SuccessionError) as error:
        if config.kept_topology is None:
            raise
        log.warning("the topology can't be used, so what is kept is: %s", error)
        return load(config.kept_topology, regions=config.regions)


def _read_again(path: Path, before: AgentConfig) -> AgentConfig:
    """The configuration as it is now; what it was while it can't be read."""
    try:
        return read_agent_config(path)
    except WiringError:
        return before


def main() -> int:
    parser = argparse.ArgumentParser(prog="atoll.agent", description="Reports a cell's health and load.")
    parser.add_argument("--config", type=Path, required=True, help="where the cell is (JSON, by the warden)")
    arguments = parser.parse_args()
    try:
        config = read_agent_config(arguments.config)
        configure(sys.stderr, logging.INFO, static={"process": f"{config.region}/agent"})
        logging.getLogger("httpx").setLevel(logging.WARNING)
        uvloop.run(run(config, arguments.config))
    except (WiringError, SecretError, TopologyError, SuccessionError, MarkerError) as error:
        print(error, file=sys.stderr)
        return 2
    except (SocketPathError, OSError) as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
