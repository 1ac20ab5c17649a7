"""How often this process has waited for what sessions had seen, told to the region's store for its operators."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from atoll.state.errors import StateError
from atoll.state.store import SessionWaits

TOLD_EVERY_S: Final = 1.0
"""At most so often, and only if there was a wait: telling is a write to the store."""


class Waits:
    """What could not be told is told with the next wait; what is not told when the process ends is lost."""

    def __init__(self, tell: Callable[[SessionWaits], Awaitable[None]]) -> None:
        """`tell` adds to the region's counts. What it raises that is no `StateError` ends the telling."""
        self._tell = tell
        self._untold = SessionWaits()
        self._telling: asyncio.Task[None] | None = None

    def add(self, seconds: float, *, behind: bool) -> None:
        """Somebody waited for so long; `behind`: for nothing."""
        self._untold += SessionWaits(1, int(behind), round(seconds * 1000))
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_soon())

    async def close(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)

    async def _tell_soon(self) -> None:
        while self._untold.waits:
            await asyncio.sleep(TOLD_EVERY_S)
            told, self._untold = self._untold, SessionWaits()
            try:
                await self._tell(told)
            except StateError:  # it may have been counted: rather once too often than never
                self._untold += told
                return
