"""Running work that may fail in a task of its own, so that a cancellation is never mistaken for its failure."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def alone(work: Coroutine[Any, Any, None]) -> None:
    """Returns or raises what `work` does. If the caller is cancelled, `work` is, and `CancelledError` is raised.

    A task group whose tasks fail while it is being cancelled raises the failures and not the cancellation, and under
    Python 3.11 `Task.cancelling` counts what the group itself did. Whoever loops over failures would go on for ever.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # what it failed with meanwhile is of no interest
        raise
    task.result()
