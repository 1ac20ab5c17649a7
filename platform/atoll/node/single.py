"""Roles of one process: gateway, agent, and the stores. When it ends, so does the role: systemd starts it anew."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from random import Random

from atoll.cell.gateway_view import GatewayViews
from atoll.cell.managed import ManagedProcess, ProcessSpec
from atoll.cell.status import ProcessState
from atoll.clock import Clock
from atoll.node.follow import LOOK_S
from atoll.node.role import Ready, RoleFailed
from atoll.node.wiring import GatewayAt

DRAIN_POLL_S = 0.25


class SingleProcess:
    """Keeps one process up, with what it is told of kept fresh, as long as `run` runs."""

    def __init__(
        self,
        spec: ProcessSpec,
        clock: Clock,
        random: Random,
        refresh: Callable[[], Awaitable[None]] | None = None,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`refresh` is called every second, `close` before the process is told to end."""
        self._failed = asyncio.Event()
        self._process = ManagedProcess(spec, clock, random, on_end=self._note_end)
        self._refresh = refresh
        self._close = close

    async def run(self, stop: asyncio.Event, ready: Ready) -> None:
        """As `Role.run`."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._process.run())
            helpers = [tasks.create_task(self._tell_ready(ready)), tasks.create_task(self._keep_fresh())]
            await _first_of(stop, self._failed)
            for helper in helpers:
                helper.cancel()
            if self._close is not None:
                await self._close()
            await self._process.stop()
        if self._failed.is_set() and not stop.is_set():
            raise RoleFailed(f"{self._process.name} {self._process.last_end}")

    async def drain(self, deadline_s: float) -> bool:
        return True

    def undrain(self) -> None:
        pass

    async def _note_end(self) -> None:
        await self._process.stop()  # it has ended, and is not started again here
        self._failed.set()

    async def _tell_ready(self, ready: Ready) -> None:
        await self._process.wait_ready()
        ready(f"{self._process.name} serves")

    async def _keep_fresh(self) -> None:
        while self._refresh is not None:
            await asyncio.sleep(LOOK_S)
            await self._refresh()


class AgentProcess(SingleProcess):
    """An agent has no listener for operators, so its figures are told here."""

    def __init__(
        self,
        spec: ProcessSpec,
        clock: Clock,
        random: Random,
        refresh: Callable[[], Awaitable[None]],
        close: Callable[[], Awaitable[None]],
        metrics: AbstractAsyncContextManager[None],
    ) -> None:
        super().__init__(spec, clock, random, refresh, close)
        self._metrics = metrics

    async def run(self, stop: asyncio.Event, ready: Ready) -> None:
        """As `Role.run`. Raises `OSError` if the port for them can't be had."""
        async with self._metrics:
            await super().run(stop, ready)


class GatewayProcess(SingleProcess):
    """A gateway drains while a file exists: it answers ``/-/readyz`` with 503, and what is under way goes on."""

    def __init__(
        self,
        spec: ProcessSpec,
        clock: Clock,
        random: Random,
        refresh: Callable[[], Awaitable[None]],
        close: Callable[[], Awaitable[None]],
        own: GatewayAt,
        flag: Path,
        views: GatewayViews,
    ) -> None:
        super().__init__(spec, clock, random, refresh, close)
        self._own = own
        self._flag = flag
        self._views = views

    async def drain(self, deadline_s: float) -> bool:
        """One that is not up yet holds nothing. One that is, and gives no answer, is busy rather than empty."""
        self._flag.touch(mode=0o600)
        try:
            async with asyncio.timeout(deadline_s):
                while self._process.state is ProcessState.RUNNING:
                    view = await self._views.view(self._own.admin)
                    if view is not None and view.draining and view.in_flight == 0:
                        break
                    await asyncio.sleep(DRAIN_POLL_S)
        except TimeoutError:
            return False
        return True

    def undrain(self) -> None:
        self._flag.unlink(missing_ok=True)


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
