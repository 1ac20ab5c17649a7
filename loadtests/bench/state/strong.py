"""Changes and reads of strong registers, counted in the round trips that they need."""

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping

from atoll.cell.links.network import Selection
from atoll.state.strong.backend import ANY, Change, Committed
from atoll.state.strong.home import order
from atoll.state.strong.messages import Register
from loadtests.bench.state.figures import TRIPS, Trips, needed_ms, quantile
from loadtests.bench.state.operations import PAYLOAD
from loadtests.bench.state.replication import round_trips_ms
from loadtests.bench.workbench import BenchError
from loadtests.state.cells import Cells

NAMESPACE = "stock"
WARM = 3


async def measure(regions: Cells, count: int, progress: Callable[[str], None]) -> list[Trips]:
    """Each region's operations on keys that are at home in each, with the links' latency and without."""
    rtt_ms = await round_trips_ms(regions)
    found = []
    for caller in regions.regions:
        for home in regions.regions:
            progress(f"strong changes from {caller}, at home in {home}")
            found.append(await _warm(regions, caller, home, count, rtt_ms))
    first = regions.regions[0]
    progress("strong reads, and first changes of registers")
    found += [
        await _reads(regions, first, first, count, rtt_ms),
        await _cold(regions, first, first, count, rtt_ms),
    ]
    await regions.links.set(Selection(), latency_ms=0.0, jitter_ms=0.0)
    nothing = dict.fromkeys(rtt_ms, 0.0)
    try:
        progress("strong changes without latency")
        found += [await _warm(regions, first, home, 4 * count, nothing) for home in regions.regions[:2]]
        found.append(await _reads(regions, first, first, 4 * count, nothing))
    finally:
        await regions.links.heal()
    return found


async def _warm(
    regions: Cells, caller: str, home: str, count: int, rtt_ms: Mapping[tuple[str, str], float]
) -> Trips:
    key = key_at(home, regions.regions)

    async def change(_: int) -> None:
        await _change(regions, caller, key)

    for number in range(WARM):
        await change(number)
    return await _timed("change", regions, caller, home, count, rtt_ms, change, TRIPS)


async def _reads(
    regions: Cells, caller: str, home: str, count: int, rtt_ms: Mapping[tuple[str, str], float]
) -> Trips:
    key = key_at(home, regions.regions)

    async def read(_: int) -> None:
        await regions[caller].access.regional.strong.get(NAMESPACE, key)

    await _change(regions, caller, key)
    return await _timed("read", regions, caller, home, count, rtt_ms, read, TRIPS)


async def _cold(
    regions: Cells, caller: str, home: str, count: int, rtt_ms: Mapping[tuple[str, str], float]
) -> Trips:
    keys = [key_at(home, regions.regions) for _ in range(count)]

    async def change(number: int) -> None:
        await _change(regions, caller, keys[number])

    return await _timed("first change", regions, caller, home, count, rtt_ms, change, None)


async def _timed(
    operation: str,
    regions: Cells,
    caller: str,
    home: str,
    count: int,
    rtt_ms: Mapping[tuple[str, str], float],
    run: Callable[[int], Awaitable[None]],
    wanted: float | None,
) -> Trips:
    taken_ms = []
    for number in range(count):
        begun = time.perf_counter()
        await run(number)
        taken_ms.append((time.perf_counter() - begun) * 1000)
    return Trips(
        operation=operation,
        caller=caller,
        home=home,
        count=count,
        needed_ms=needed_ms(caller, home, regions.regions, rtt_ms),
        p50_ms=quantile(taken_ms, 0.5),
        p99_ms=quantile(taken_ms, 0.99),
        wanted=wanted,
    )


async def _change(regions: Cells, caller: str, key: str) -> None:
    wanted = Change(ANY, PAYLOAD, uuid.uuid4().hex)
    outcome = await regions[caller].access.regional.strong.change(NAMESPACE, key, wanted)
    if not isinstance(outcome, Committed):
        raise BenchError(f"a change of {NAMESPACE}/{key} without a condition met another: {outcome}")


def key_at(home: str, regions: tuple[str, ...]) -> str:
    """A new key that is at home in a region."""
    while True:
        key = f"key-{uuid.uuid4().hex[:12]}"
        if order(Register(NAMESPACE, key), regions)[0] == home:
            return key
