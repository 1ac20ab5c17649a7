"""Runs one role of this machine in the foreground, and answers who asks it to drain."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random

from pydantic import BaseModel, ValidationError

from atoll.cell.processes import require_linux
from atoll.cell.watch import set_on_signals
from atoll.clock import SystemClock
from atoll.node.build import RoleName, build
from atoll.node.check import check_machine, check_topology, load_topology
from atoll.node.config import NodeConfig
from atoll.node.files import RoleFiles
from atoll.node.notify import Notifier
from atoll.node.role import Role
from atoll.node.wiring import Node
from atoll.rpc import Client, Document, RpcError, serve
from atoll.telemetry.logs import configure

DRAIN_ANSWER_S = 15.0
"""How much longer than the deadline an answer is waited for."""

log = logging.getLogger(__name__)


class DrainRequest(BaseModel):
    deadline_s: float


class Drained(BaseModel):
    drained: bool


def check(name: RoleName, config: NodeConfig) -> Node:
    """Whether this machine has all that the role needs; touches nothing. Raises `NodeError`."""
    files = RoleFiles(config.run / name, config.data / name)
    topology, refused = load_topology(config, files)
    check_topology(config, topology)
    check_machine(config, name, files)
    if refused:
        log.warning("the topology can't be used, so what was taken up before is: %s", refused)
    return Node(config, topology)


async def run(
    name: RoleName, config: NodeConfig, environment: Mapping[str, str], kept: Mapping[str, str]
) -> None:
    """Until SIGTERM, or until the role has left. `environment` says whom to notify, `kept` is what the role's processes
    get. Raises `NodeError` before anything is touched, `RoleFailed`, `SecretError`, `NoEmbeddedValkey`,
    `SocketPathError`, `OSError`.
    """
    require_linux()
    configure(sys.stderr, logging.INFO, static={"process": f"{config.region}/{name}"})
    logging.getLogger("httpx").setLevel(logging.WARNING)
    node = check(name, config)
    files = node.files(name)
    files.prepare()
    stop = asyncio.Event()
    set_on_signals(stop)
    notifier = Notifier(environment)
    role = build(name, node, kept, SystemClock(), Random())

    async def told() -> None:
        await stop.wait()
        notifier.stopping()

    async with await serve(files.control, _Control(role).handle):
        beside = [asyncio.create_task(told()), asyncio.create_task(notifier.keep_alive())]
        try:
            await role.run(stop, notifier.ready)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)


class _Control:
    def __init__(self, role: Role) -> None:
        self._role = role

    async def handle(self, method: str, params: Document) -> Document:
        match method:
            case "drain":
                try:
                    request = DrainRequest.model_validate(params)
                except ValidationError as error:
                    raise RpcError("bad-request", str(error)) from error
                return Drained(drained=await self._role.drain(request.deadline_s)).model_dump()
            case "undrain":
                self._role.undrain()
                return {}
        raise RpcError("no-such-method", f"a role has no method {method!r}")


def running(config: NodeConfig) -> dict[str, Path]:
    """The control sockets of the roles that have been started on this machine, by role."""
    sockets = {name.value: RoleFiles(config.run / name, config.data / name).control for name in RoleName}
    return {name: path for name, path in sockets.items() if path.is_socket()}


async def drain(config: NodeConfig, deadline_s: float) -> dict[str, bool]:
    """Drains every role that runs here, side by side: whether each had nothing left in time. Raises `RpcError`."""
    there = running(config)
    answers = await asyncio.gather(*(_drain(path, deadline_s) for path in there.values()))
    return {name: answer for name, answer in zip(there, answers, strict=True) if answer is not None}


async def undrain(config: NodeConfig) -> tuple[str, ...]:
    """Puts what runs here back into service; which roles those are. Raises `RpcError`."""
    back = []
    for name, path in running(config).items():
        with contextlib.suppress(_Nobody):
            await _call(path, "undrain")
            back.append(name)
    return tuple(back)


class _Nobody(Exception):
    """A role that was here has ended, and left its socket."""


async def _drain(path: Path, deadline_s: float) -> bool | None:
    """None: nobody listens there any more."""
    try:
        async with asyncio.timeout(deadline_s + DRAIN_ANSWER_S):
            answer = await _call(path, "drain", DrainRequest(deadline_s=deadline_s).model_dump())
    except TimeoutError:
        return False
    except _Nobody:
        return None
    return Drained.model_validate(answer).drained


async def _call(path: Path, method: str, params: Document | None = None) -> Document:
    try:
        return await Client(path).call(method, params)
    except RpcError as error:
        if error.kind == "unavailable":
            raise _Nobody from error
        raise
