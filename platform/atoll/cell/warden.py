"""``python -m atoll.cell.warden --config FILE``: owns one region, until told to stop or its supervisor dies.

Exit status: 0 the region was ended in order, 2 an unusable configuration, topology or secret, 3 it can't listen.
"""

import argparse
import asyncio
import contextlib
import logging
import sys
from pathlib import Path
from random import Random

from pydantic import TypeAdapter

from atoll.agent.config import read_agent_config
from atoll.agent.observe import Observer
from atoll.cell.cell import Cell, DeployFailed, NoSuchProcess
from atoll.cell.fault_errors import FaultImpossible
from atoll.cell.forward import forward
from atoll.cell.paths import RunPaths
from atoll.cell.reaper import become_subreaper, reap_adopted
from atoll.cell.region_status import region_status
from atoll.cell.requests import DeployRequest, Done, Fault, FaultRequest, StatusRequest, read
from atoll.cell.state_files import kept_namespaces
from atoll.cell.status import RegionStatus
from atoll.cell.valkey import NoEmbeddedValkey
from atoll.cell.watch import set_on_signals, set_when_gone
from atoll.cell.wiring import WardenConfig, read_warden_config
from atoll.clock import SystemClock
from atoll.rpc import Document, Progress, RpcError, SocketPathError, serve_streaming
from atoll.secrets import SecretError
from atoll.telemetry.logs import configure
from atoll.topology import SuccessionError, Topology, TopologyError, check_namespaces, check_running, load
from atoll.topology.wiring import WiringError

REGION_STATUS: TypeAdapter[RegionStatus] = TypeAdapter(RegionStatus)

log = logging.getLogger(__name__)


class Warden:
    """Answers what is asked of a region."""

    def __init__(self, config: WardenConfig, topology: Topology, cell: Cell, stop: asyncio.Event) -> None:
        self._config = config
        self._region = topology.regions[config.region]
        self._cell = cell
        self._stop = stop
        self._observer = Observer(read_agent_config(cell.paths.agent_config), SystemClock())

    async def close(self) -> None:
        await self._observer.close()

    async def handle(self, method: str, params: Document, progress: Progress) -> Document:
        """As `atoll.cell.requests` says."""
        match method:
            case "status":
                memory = read(StatusRequest, params).memory
                status = await region_status(
                    self._config, self._region, self._cell, self._observer, memory=memory
                )
                document: Document = REGION_STATUS.dump_python(status, mode="json")
                return document
            case "ready":
                async with forward(self._cell.board, progress, past=True):
                    failure = await self._cell.wait_ready()
                if failure:
                    raise RpcError("deploy-failed", failure)
                return Done().model_dump()
            case "deploy":
                async with forward(self._cell.board, progress):
                    return await self._deploy(read(DeployRequest, params))
            case "fault":
                await self._fault(read(FaultRequest, params))
                return Done().model_dump()
            case "rewire":
                self._rewire()
                return Done().model_dump()
            case "leave":
                async with forward(self._cell.board, progress):
                    await self._cell.leave()
                return Done().model_dump()
            case "ping":
                return Done().model_dump()
            case "stop":
                self._stop.set()
                return Done().model_dump()
        raise RpcError("no-such-method", f"a warden has no method {method!r}")

    def _rewire(self) -> None:
        """Takes up the configuration as it is now: which regions take part, and where their agents are."""
        try:
            config = read_warden_config(self._cell.paths.warden_config)
            self._cell.rewire(config, _load(config))
        except (WiringError, TopologyError, SuccessionError) as error:
            raise RpcError("bad-request", str(error)) from error
        except OSError as error:
            raise RpcError(
                "not-possible", f"{self._cell.paths.root} can't be written: {error.strerror}"
            ) from error
        self._config = config

    async def _deploy(self, request: DeployRequest) -> Document:
        try:
            deployed = await self._cell.deploy(rollback=request.rollback)
            return Done(detail=str(deployed), changed=deployed is not None and deployed.changed).model_dump()
        except DeployFailed as error:
            raise RpcError("deploy-failed", str(error)) from error

    async def _fault(self, request: FaultRequest) -> None:
        if request.target is None:
            if request.kind is not Fault.HEAL:
                raise RpcError("bad-request", f"{request.kind.value} needs a target")
            await self._cell.heal()
            return
        try:
            await self._cell.fault(request, request.target)
        except NoSuchProcess as error:
            raise RpcError("no-such-process", str(error)) from error
        except FaultImpossible as error:
            raise RpcError("not-possible", str(error)) from error


def _load(config: WardenConfig) -> Topology:
    """The topology as it is now, or, after a bad edit, as the run began with it. Raises `TopologyError`."""
    try:
        topology = load(config.topology_file, regions=config.regions)
        if config.members is not None:
            check_running(config.members, topology)
        check_namespaces(kept_namespaces(RunPaths(config.root).region(config.region)), topology.namespaces)
    except (TopologyError, SuccessionError) as error:
        log.warning("the topology can't be used, so what the run began with is: %s", error)
        return load(RunPaths(config.root).topology, regions=config.regions)
    return topology


async def run(config: WardenConfig) -> None:
    """Runs the region until it is told to stop. Raises what `main` turns into an exit status."""
    become_subreaper()
    stop = asyncio.Event()
    set_on_signals(stop)
    topology = _load(config)
    cell = Cell(config, topology, SystemClock(), Random())
    warden = Warden(config, topology, cell, stop)
    reaper = asyncio.create_task(reap_adopted())
    owner = asyncio.create_task(set_when_gone(config.supervisor, stop))
    try:
        async with await serve_streaming(cell.paths.warden_socket, warden.handle):
            await cell.run(stop)
    finally:
        for task in (reaper, owner):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await warden.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="atoll.cell.warden", description="Owns one region's processes.")
    parser.add_argument("--config", type=Path, required=True, help="which region (JSON, by the supervisor)")
    arguments = parser.parse_args()
    try:
        config = read_warden_config(arguments.config)
        configure(sys.stderr, logging.INFO, static={"process": f"{config.region}/warden"})
        logging.getLogger("httpx").setLevel(logging.WARNING)
        asyncio.run(run(config))
    except (WiringError, TopologyError, SuccessionError, SecretError, NoEmbeddedValkey) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    except (SocketPathError, OSError) as error:
        log.exception("cannot run the region")
        print(error, file=sys.stderr)  # noqa: T201
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
