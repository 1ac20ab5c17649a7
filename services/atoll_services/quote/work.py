"""Load on demand: processor time that is really used, and waiting that is not."""

import asyncio
import time
from collections.abc import Awaitable, Callable

SLICE_MS = 5.0
"""Processor time between two chances for everything else on the event loop.

Handlers share one thread with the replica's health check and bookkeeping, so a busy one must let them in. A
worker thread would win nothing: it shares the interpreter lock with the event loop."""


async def burn(cpu_ms: float, processor_time: Callable[[], float] = time.thread_time) -> None:
    """Uses `cpu_ms` milliseconds of this thread's processor time, in slices of `SLICE_MS`.

    Processor time, not wall time: on a busy machine this takes longer, as any computation would.
    `processor_time` gives seconds; it is a parameter because `atoll.clock` has no processor time.
    """
    left_s = cpu_ms / 1000
    while left_s > 0:
        started = processor_time()
        end = started + min(left_s, SLICE_MS / 1000)
        while (now := processor_time()) < end:
            _compute()
        left_s -= now - started
        await asyncio.sleep(0)


async def wait(wait_ms: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Waits without using the processor, as for an answer from elsewhere."""
    if wait_ms > 0:
        await sleep(wait_ms / 1000)


def _compute() -> int:
    """Some tens of microseconds of arithmetic: short against a slice, long against reading the clock."""
    return sum(i * i for i in range(500))
