"""The metrics of a region's state, which are its agent's to know: asked of it whenever somebody wants them.

An agent has no listener for operators: gateways have one, and on a machine of its own whoever started it.
"""

import asyncio
from pathlib import Path

from pydantic import ValidationError

from atoll.agent.metrics import exposition
from atoll.agent.report import CELL_REPORT, CellReport
from atoll.rpc import Client, RpcError

TIMEOUT_S = 1.0
"""Prometheus waits 10 s for an answer; a frozen agent must not keep the gateway's own figures from it."""


async def state_exposition(region: str, agent_socket: Path) -> bytes:
    """In Prometheus's text format; of an agent that doesn't answer it says just that (``atoll_state_up``)."""
    report = await _ask(agent_socket)
    return (
        exposition(region, None) if report is None else exposition(region, report.state, report.certificate)
    )


async def _ask(agent_socket: Path) -> CellReport | None:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return CELL_REPORT.validate_python(await Client(agent_socket).call("report"))
    except (RpcError, ValidationError, TimeoutError, OSError):
        return None
