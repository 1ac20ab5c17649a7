"""The metrics of the region's state, which are its agent's to know: asked of it whenever somebody asks the gateway.

An agent has no listener for operators: the gateway's is there already, and asks for the admin token.
"""

import asyncio
from pathlib import Path

from pydantic import ValidationError

from atoll.agent.metrics import exposition
from atoll.agent.report import CELL_REPORT
from atoll.cell.state_report import StateReport
from atoll.rpc import Client, RpcError

TIMEOUT_S = 1.0
"""Prometheus waits 10 s for an answer; a frozen agent must not keep the gateway's own figures from it."""


async def state_exposition(region: str, agent_socket: Path) -> bytes:
    """In Prometheus's text format; of an agent that doesn't answer it says just that (``atoll_state_up``)."""
    return exposition(region, await _ask(agent_socket))


async def _ask(agent_socket: Path) -> StateReport | None:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return CELL_REPORT.validate_python(await Client(agent_socket).call("report")).state
    except (RpcError, ValidationError, TimeoutError, OSError):
        return None
