"""Load at a fixed rate, whatever is answered: what is late counts from when it was due, so no wait is left out.

(Tene, "How NOT to Measure Latency": a client that waits for one answer before it asks again measures the pauses away.)
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from atoll_gateway.upstream import PoolSettings, Upstream
from atoll_gateway.upstream_errors import UpstreamError

_HEAD = b"GET /bench/item HTTP/1.1\r\nhost: bench\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it was due, in seconds from the start, and what came of it."""

    due_s: float
    seconds: float
    ok: bool


async def ask(port: int, rate: float, seconds: float) -> list[Asked]:
    """Asks a port of loopback `rate` times a second."""
    pool = Upstream("127.0.0.1", port, settings=PoolSettings(max_connections=1024, max_idle=1024))
    started = time.monotonic()

    async def one(due_s: float) -> Asked:
        try:
            answer = await pool.send(_HEAD, None, method="GET")
            await answer.read()
            ok = answer.status == 200
        except UpstreamError:
            ok = False
        return Asked(due_s, time.monotonic() - started - due_s, ok)

    asked = []
    for number in range(int(rate * seconds)):
        due_s = number / rate
        pause = due_s - (time.monotonic() - started)
        if pause > 0.0:
            await asyncio.sleep(pause)
        asked.append(asyncio.ensure_future(one(due_s)))
    try:
        return await asyncio.gather(*asked)
    finally:
        pool.close()


def quantile(asked: Sequence[Asked], q: float, after_s: float = 0.0, before_s: float = float("inf")) -> float:
    """A quantile of the seconds that requests due in a span took; 0 if there was none."""
    took = sorted(one.seconds for one in asked if after_s <= one.due_s < before_s)
    return took[min(len(took) - 1, int(q * len(took)))] if took else 0.0


def settled_s(asked: Sequence[Asked], limit_s: float, after_s: float, window_s: float = 0.5) -> float | None:
    """How long after `after_s` the p99 of each further window is below `limit_s` for good; None if it never is."""
    if not asked:
        return None
    end = max(one.due_s for one in asked)
    settled = None
    at = after_s
    while at < end:
        if quantile(asked, 0.99, at, at + window_s) > limit_s:
            settled = None
        elif settled is None:
            settled = at - after_s
        at += window_s
    return settled
