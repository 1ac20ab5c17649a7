"""Three regions with the links' latency: how much they replicate, and how soon, under a steady load in all of them."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from atoll.state.kind import Kind
from atoll.state.store import REGISTER_FIELD, CellChange
from atoll.state.vector import Dot, region_of
from loadtests.bench.state.figures import Arrival, Lag, Throughput, lags
from loadtests.bench.state.operations import PAYLOAD
from loadtests.bench.state.wire import write_commands
from loadtests.state.cells import Cells, until

NAMESPACE = "local"
KEYS = 5000
DEPTH = 50
WRITERS = 4
SETTLED_S = 60.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is run."""

    burst: int
    """Writes of a burst."""
    bursts: int
    per_s: float
    """Writes a second in each region while lag is measured."""
    steady_s: float


FULL = Scale(burst=20_000, bursts=3, per_s=100.0, steady_s=30.0)
QUICK = Scale(burst=2_000, bursts=1, per_s=50.0, steady_s=5.0)


@dataclass(slots=True)
class Watch:
    """What every region comes to know, and when."""

    arrivals: list[Arrival] = field(default_factory=list)
    known: dict[tuple[str, str], int] = field(default_factory=dict)
    """By region and actor."""

    async def everywhere(self, regions: Sequence[str], dots: Sequence[Dot]) -> None:
        """Returns when all but its own region know each of the operations. Raises `TimeoutError`."""

        async def all_know() -> bool:
            return all(
                self.known.get((region, dot.actor), 0) >= dot.seq
                for dot in dots
                for region in regions
                if region != region_of(dot.actor)
            )

        await until(all_know, SETTLED_S)

    def arrived(self, dots: Sequence[Dot]) -> float:
        """When the last region came to know the last of the operations."""
        first: dict[tuple[str, Dot], float] = {}
        for arrival in self.arrivals:
            for dot in dots:
                own = arrival.destination == region_of(dot.actor)
                if arrival.actor == dot.actor and arrival.seq >= dot.seq and not own:
                    first.setdefault((arrival.destination, dot), arrival.at)
        return max(first.values())


async def throughput(regions: Cells, scale: Scale, progress: Callable[[str], None]) -> list[Throughput]:
    """Bursts in one region, then in all at once."""
    found = []
    for turn in range(scale.bursts):
        for origins in (regions.regions[:1], regions.regions):
            progress(f"burst {turn + 1} of {scale.bursts} in {', '.join(origins)}")
            async with _watching(regions) as watch:
                found.append(await _burst(regions, watch, origins, scale.burst))
    return found


async def lag(regions: Cells, scale: Scale, progress: Callable[[str], None]) -> list[Lag]:
    """Of each direction of each link, while all regions write."""
    rtt_ms = await round_trips_ms(regions)
    async with _watching(regions) as watch:
        progress("getting warm")
        await _steady(regions, watch, scale.per_s, 2.0)
        watch.arrivals.clear()
        progress(f"{scale.per_s:.0f} writes a second in each region for {scale.steady_s:.0f} s")
        sent = await _steady(regions, watch, scale.per_s, scale.steady_s)
    origins = {actor: region for region, dots in sent.items() for actor in dots}
    return lags(
        {actor: dots[actor] for dots in sent.values() for actor in dots}, watch.arrivals, origins, rtt_ms
    )


async def round_trips_ms(regions: Cells) -> dict[tuple[str, str], float]:
    """Both directions of each link, without jitter."""
    shapes = (await regions.links.heal()).directions
    one_way = {(shape.source, shape.destination): shape.latency_ms for shape in shapes}
    return {
        (a, b): one_way[a, b] + one_way[b, a]
        for a, b in one_way
        if a in regions.regions and b in regions.regions
    }


@contextlib.asynccontextmanager
async def _watching(regions: Cells) -> AsyncIterator[Watch]:
    watch = Watch()

    async def follow(region: str) -> None:
        async for vector in regions[region].data.follow():
            at = time.perf_counter()
            for actor, seq in vector.items():
                watch.arrivals.append(Arrival(region, actor, seq, at))
                watch.known[region, actor] = max(seq, watch.known.get((region, actor), 0))

    tasks = [asyncio.create_task(follow(region)) for region in regions.regions]

    async def begun() -> bool:
        return {region for region, _ in watch.known} == set(regions.regions)

    try:
        await until(begun, SETTLED_S)
        yield watch
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _burst(regions: Cells, watch: Watch, origins: Sequence[str], count: int) -> Throughput:
    share = count // len(origins)
    changes = [CellChange(REGISTER_FIELD, PAYLOAD)]
    commands = {
        origin: await write_commands(
            NAMESPACE, Kind.REGISTER, [(f"{origin}-{number % KEYS}", changes) for number in range(share)]
        )
        for origin in origins
    }

    async def write(origin: str) -> None:
        pipelines = iter(range(0, share, DEPTH))

        async def one() -> None:
            for at in pipelines:
                await regions[origin].data.calls.several(commands[origin][at : at + DEPTH])

        await asyncio.gather(*(one() for _ in range(WRITERS)))

    begun = time.perf_counter()
    await asyncio.gather(*(write(origin) for origin in origins))
    written_s = time.perf_counter() - begun
    last = []
    for origin in origins:
        dot = (await regions[origin].data.vector()).latest(origin)
        assert dot is not None
        last.append(dot)
    await watch.everywhere(regions.regions, last)
    return Throughput(
        tuple(origins),
        share * len(origins),
        share * len(origins) / written_s,
        share * len(origins) / (watch.arrived(last) - begun),
    )


async def _steady(
    regions: Cells, watch: Watch, per_s: float, for_s: float
) -> Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]:
    """An open loop: a write is sent when it is due. Answers each region's actors, numbers and times of sending."""
    sent: dict[str, dict[str, list[tuple[int, float]]]] = {
        region: defaultdict(list) for region in regions.regions
    }

    async def write(region: str, number: int) -> None:
        at = time.perf_counter()
        changes = [CellChange(REGISTER_FIELD, PAYLOAD)]
        written = await regions[region].data.write(
            NAMESPACE, Kind.REGISTER, f"{region}-{number % KEYS}", changes
        )
        sent[region][written.dot.actor].append((written.dot.seq, at))

    async with asyncio.TaskGroup() as group:
        begun = time.perf_counter()
        for number in range(int(per_s * for_s)):
            for offset, region in enumerate(regions.regions):
                due = begun + (number + offset / len(regions.regions)) / per_s
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(write(region, number))
    for writes in sent.values():
        for dots in writes.values():
            dots.sort()
    last = [Dot(actor, dots[-1][0]) for writes in sent.values() for actor, dots in writes.items()]
    await watch.everywhere(regions.regions, last)
    return sent
