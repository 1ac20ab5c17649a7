"""Passes a board's events on to whoever made a call."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from atoll.cell.board import Board
from atoll.cell.progress import PROGRESS
from atoll.rpc import Progress


@contextlib.asynccontextmanager
async def forward(board: Board, progress: Progress, *, past: bool = False) -> AsyncIterator[None]:
    """While the block runs, `progress` gets the board's events as they come; with `past`, first how far it is."""
    with board.watch(past=past) as events:

        async def pass_on() -> None:
            while True:
                await progress(PROGRESS.dump_python(await events.get(), mode="json"))

        passing = asyncio.create_task(pass_on())
        try:
            yield
        finally:
            passing.cancel()
            await asyncio.gather(passing, return_exceptions=True)
            while not events.empty():
                await progress(PROGRESS.dump_python(events.get_nowait(), mode="json"))
