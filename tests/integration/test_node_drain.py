"""When a machine's gateway counts as drained."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import cast

from atoll.cell.gateway_view import GatewayView, GatewayViews, ServiceSeen, TopologySeen
from atoll.cell.managed import ProcessSpec
from atoll.clock import SystemClock
from atoll.node.single import GatewayProcess
from atoll.node.wiring import GatewayAt
from atoll.topology.wiring import Address

HERE = Address("127.0.0.1", 1)


class Views:
    """What the gateway says of itself, answer by answer; the last one stays."""

    def __init__(self, *answers: GatewayView | None) -> None:
        self.answers = list(answers)

    async def view(self, _: Address) -> GatewayView | None:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def says(in_flight: int) -> GatewayView:
    return GatewayView(
        "eu-west/gateway-1", True, TopologySeen("", None), {"shop": ServiceSeen(0, 8, in_flight)}, {}
    )


@asynccontextmanager
async def gateway(folder: Path, views: Views, *, is_ready: bool = True) -> AsyncIterator[GatewayProcess]:
    """One that runs, and in whose place something sleeps."""

    async def ready() -> bool:
        return is_ready

    async def nothing() -> None:
        pass

    spec = ProcessSpec("gateway", (sys.executable, "-c", "import time; time.sleep(60)"), {}, None, ready)
    own = GatewayAt("eu-west/gateway-1", HERE, HERE)
    role = GatewayProcess(
        spec, SystemClock(), Random(1), nothing, nothing, own, folder / "drain", cast(GatewayViews, views)
    )
    stop, up = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(role.run(stop, lambda _: up.set()))
    if is_ready:
        await up.wait()
    try:
        yield role
    finally:
        stop.set()
        await running


async def test_it_is_drained_when_it_holds_no_request(tmp_path: Path) -> None:
    views = Views(says(2), says(1), says(0))
    async with gateway(tmp_path, views) as role:
        assert await role.drain(30.0)
        assert views.answers == [says(0)]
        assert (tmp_path / "drain").exists()


async def test_one_that_gives_no_answer_may_hold_requests(tmp_path: Path) -> None:
    views = Views(None, says(1), None, says(0))
    async with gateway(tmp_path, views) as role:
        assert await role.drain(30.0)
        assert views.answers == [says(0)]
    async with gateway(tmp_path, Views(None)) as role:
        assert not await role.drain(0.5)


async def test_one_that_is_not_up_holds_none(tmp_path: Path) -> None:
    async with gateway(tmp_path, Views(None), is_ready=False) as role:
        assert await role.drain(30.0)
