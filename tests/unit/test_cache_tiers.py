"""The way of a read through memory, cache store and loader, on virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from tests.unit.cache_region import OWN, Line, NoLeases, State

from atoll.cache import (
    CACHES,
    Cached,
    Caches,
    Dropped,
    Invalidations,
    LoadTimeout,
    NoCaches,
    NoPosition,
    Policy,
    TierPolicy,
    Tiers,
    aside,
    of,
    over,
    refresh_ahead,
    write_through,
)
from atoll.cache.model import ModelCacheStore
from atoll.simulate.loop import VirtualLoop, run
from atoll.state.vector import NOTHING, Dot, Vector

PLAIN = Policy(early=0)


@dataclass(slots=True)
class Reader:
    """A session that a test sets."""

    vector: Vector = NOTHING
    seen: list[Dot] = field(default_factory=list)

    async def needs(self, *_: str) -> Vector:
        return self.vector

    def saw(self, _: str, dot: Dot) -> None:
        self.seen.append(dot)


class Region:
    def __init__(self, loop: VirtualLoop, store: type[ModelCacheStore] = ModelCacheStore) -> None:
        self.clock = loop.clock
        self.chance = Random(5)
        self.store = store(loop.clock)
        self.state = State(loop.clock, self.chance)
        self.pulses = Invalidations(self.store, loop.clock)
        self.lines: list[Line] = []
        self.behind = False

    def process(self, session: Reader | None = None, **policy: Any) -> Caches:
        line = Line(self.store, self.chance)
        self.lines.append(line)
        tiers = Tiers(line, self.clock, self.chance, TierPolicy(**policy), behind=lambda: self.behind)
        return Caches(tiers, session, position=self.position)

    def cached(self, policy: Policy = PLAIN, **more: Any) -> tuple[Caches, Cached[bytes]]:
        caches = self.process(**more)
        return caches, over(self.state, policy, caches=lambda: caches)

    async def position(self) -> Vector:
        return self.state.vector

    async def wait(self, seconds: float) -> None:
        """With an agent that has nothing to drop."""
        until = self.clock.monotonic() + seconds
        while (left := until - self.clock.monotonic()) > 0:
            await self.pulses.pulse(self.clock.monotonic())
            await asyncio.sleep(min(0.2, left))
        await self.pulses.pulse(self.clock.monotonic())


def on_virtual_time(test: Callable[[Region], Awaitable[None]]) -> Callable[[], None]:
    def body() -> None:
        loop = VirtualLoop()

        async def main() -> None:
            await test(Region(loop))

        run(loop, main())

    body.__name__ = test.__name__
    return body


@on_virtual_time
async def test_memory_then_store_then_loader(region: Region) -> None:
    region.state.write("k")
    first, near = region.cached()
    assert await near.get("k") == b"1"
    assert await near.get("k") == b"1"
    assert first.statistics().tiers.memory.hits == 1
    second, other = region.cached()
    assert await other.get("k") == b"1"
    assert second.statistics().tiers.hits == 1
    assert region.state.loads == 1


async def herd(region: Region) -> int:
    """Loads that readers in twenty processes make of one key that has run out."""
    region.state.write("k")
    region.state.load_s = 0.5
    processes = [region.cached()[1] for _ in range(20)]
    await processes[0].get("k")
    await region.wait(200)  # past fresh and past stale
    before = region.state.loads
    answers = await asyncio.gather(*(processes[number % 20].get("k") for number in range(1_000)))
    assert answers == [b"1"] * 1_000
    return region.state.loads - before


@on_virtual_time
async def test_a_thousand_readers_of_a_key_that_ran_out_make_one_load(region: Region) -> None:
    assert await herd(region) == 1


def test_control_without_leases_each_process_loads() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        assert await herd(Region(loop, NoLeases)) > 1

    run(loop, main())


@on_virtual_time
async def test_a_process_that_dies_with_the_lease_frees_it(region: Region) -> None:
    region.state.write("k")
    region.state.load_s = 1.0
    dying, doomed = region.cached()
    task = asyncio.create_task(doomed.get("k"))
    await asyncio.sleep(0.01)
    region.lines[0].refused = True  # nothing of it is heard any more
    await dying.close()
    assert await asyncio.gather(task, return_exceptions=True)
    _, cached = region.cached()
    began = region.clock.monotonic()
    assert await cached.get("k") == b"1"
    assert region.clock.monotonic() - began < PLAIN.load_s + 3.1
    assert region.state.loads == 2


@on_virtual_time
async def test_a_lease_whose_answer_was_lost_is_given_again_to_its_process(region: Region) -> None:
    region.state.write("k")
    caches, cached = region.cached()
    line = region.lines[0]
    line.thawed.clear()
    assert await cached.get("k") == b"1"  # alone, as the store is frozen
    line.thawed.set()
    await asyncio.sleep(1.1)  # what was sent has been carried out: the lease is given to nobody who knows
    began = region.clock.monotonic()
    assert await cached.get("k") == b"1"
    assert region.clock.monotonic() - began < 0.1
    assert caches.statistics().tiers.alone == 1


@on_virtual_time
async def test_a_stale_entry_is_served_while_one_process_loads_it(region: Region) -> None:
    region.state.write("k")
    many = [region.cached(aside(ttl_s=5, early=0))[1] for _ in range(5)]
    await many[0].get("k")
    region.state.load_s = 0.5
    await region.wait(6)
    began = region.clock.monotonic()
    assert await asyncio.gather(*(each.get("k") for each in many * 20)) == [b"1"] * 100
    assert region.clock.monotonic() - began < 0.1
    await region.wait(2)
    assert region.state.loads == 2


@on_virtual_time
async def test_an_entry_that_is_read_often_never_runs_out_with_refresh_ahead(region: Region) -> None:
    region.state.write("k")
    region.state.load_s = 0.2
    caches, cached = region.cached(refresh_ahead(ttl_s=5, ahead=0.6, stale_s=0, error_s=0, early=0))
    await cached.get("k")
    slowest = 0.0
    for _ in range(300):
        began = region.clock.monotonic()
        assert await cached.get("k") == b"1"
        slowest = max(slowest, region.clock.monotonic() - began)
        await region.wait(0.1)
    assert slowest < 0.05
    assert caches.statistics().tiers.refreshes in range(5, 10)


@on_virtual_time
async def test_if_the_source_fails_an_old_entry_is_served_and_the_source_is_left_alone(
    region: Region,
) -> None:
    region.state.write("k")
    caches, cached = region.cached(aside(ttl_s=5, stale_s=0, error_s=100, early=0))
    await cached.get("k")
    region.state.fails = True
    await region.wait(10)
    before, began = region.state.loads, region.clock.monotonic()
    for _ in range(100):
        assert await cached.get("k") == b"1"
        await region.wait(0.01)
    assert caches.statistics().tiers.spared == 100
    assert region.state.loads - before <= (region.clock.monotonic() - began) / 0.1 + 1
    await region.wait(100)
    with pytest.raises(ConnectionError):
        await cached.get("k")


@on_virtual_time
async def test_without_an_old_entry_the_failure_is_told_and_not_kept(region: Region) -> None:
    region.state.write("k")
    region.state.fails = True
    _, cached = region.cached()
    told = await asyncio.gather(*(cached.get("k") for _ in range(50)), return_exceptions=True)
    assert {type(each) for each in told} == {ConnectionError}
    assert region.state.loads == 1
    region.state.fails = False
    assert await cached.get("k") == b"1"


@on_virtual_time
async def test_that_there_is_nothing_is_kept_for_a_short_time(region: Region) -> None:
    _, cached = region.cached(aside(ttl_s=60, negative_s=3, early=0))
    for _ in range(28):
        assert await cached.get("nothing") is None
        await region.wait(0.1)
    assert region.state.loads == 1
    await region.wait(1)
    assert await cached.get("nothing") is None
    assert region.state.loads == 2


@on_virtual_time
async def test_a_fill_that_a_drop_overtook_is_rejected_and_loaded_again(region: Region) -> None:
    region.state.write("k")
    region.state.load_s = 0.2
    caches, cached = region.cached()
    reader = asyncio.create_task(cached.get("k"))
    await asyncio.sleep(0.003)
    dot = Dot("east.1700000001", 1)
    async with region.pulses.applying([Dropped("things", "k", dot)]):
        await asyncio.sleep(0.3)  # the value has been read by now
        region.state.apply("k", dot)
    assert await reader == b"2"
    assert caches.statistics().tiers.overtaken >= 1
    assert await cached.get("k") == b"2"


@on_virtual_time
async def test_a_write_that_never_comes_leaves_its_key_readable(region: Region) -> None:
    region.state.write("k")
    _, cached = region.cached()
    await region.pulses.drop([Dropped("things", "k", Dot("east.1700000001", 1))])  # and the agent dies
    assert await cached.get("k") == b"1"


@on_virtual_time
async def test_own_writes_are_seen_at_once_in_their_process(region: Region) -> None:
    _, cached = region.cached()
    _, through = region.cached(write_through(early=0))
    await cached.get("k")
    await cached.put("k", b"")
    assert await cached.get("k") == b"1"
    loads = region.state.loads
    await through.put("k", b"")
    assert region.state.loads == loads + 1
    assert await through.get("k") == b"2"
    assert region.state.loads == loads + 1, "write-through: the reader found it"
    await through.delete("k")


@on_virtual_time
async def test_write_through_succeeds_though_the_value_can_not_be_read_back(region: Region) -> None:
    _, through = region.cached(write_through(early=0))
    region.state.fails = True
    assert (await through.put("k", b"")).actor == OWN


@on_virtual_time
async def test_a_session_that_has_seen_more_passes_by_at_every_level(region: Region) -> None:
    region.state.write("k")
    session = Reader()
    caches = region.process(session)
    _, other = region.cached()
    cached = over(region.state, PLAIN, caches=lambda: caches)
    assert await cached.get("k") == b"1"
    dot = region.state.write("k")  # by a writer that dies before the drop
    assert await cached.get("k") == b"1"  # from memory
    session.vector = Vector.of([dot])
    assert await cached.get("k") == b"2"
    assert caches.statistics().tiers.bypassed == 2
    assert await other.get("k") == b"2", "and filled anew, for all"
    assert session.seen[-1] == dot


@on_virtual_time
async def test_what_the_region_has_not_seen_is_the_states_business(region: Region) -> None:
    region.state.write("k")
    session = Reader(Vector({"far.1700000003": 9}))
    caches = region.process(session)
    cached = over(region.state, PLAIN, caches=lambda: caches)
    assert await cached.get("k") == b"1"  # what `load` decides, in the reader's own context


@on_virtual_time
async def test_without_the_invalidators_word_entries_live_for_a_second(region: Region) -> None:
    region.state.write("k")
    _, cached = region.cached()
    for _ in range(100):
        await cached.get("k")
        await asyncio.sleep(0.1)
    assert 8 <= region.state.loads <= 11
    await region.wait(0)
    before = region.state.loads
    for _ in range(100):
        await cached.get("k")
        await region.wait(0.1)
    assert region.state.loads <= before + 1


@on_virtual_time
async def test_while_replication_is_behind_entries_live_for_a_second(region: Region) -> None:
    region.state.write("k")
    region.behind = True
    _, cached = region.cached()
    for _ in range(100):
        await cached.get("k")
        await region.wait(0.1)
    assert 8 <= region.state.loads <= 11


@on_virtual_time
async def test_without_the_store_each_process_loads_a_key_once_a_second(region: Region) -> None:
    region.state.write("k")
    _, cached = region.cached()
    await cached.get("k")
    region.lines[0].thawed.clear()
    region.state.load_s = 0.01
    before, slow = region.state.loads, 0
    for _ in range(100):
        began = region.clock.monotonic()
        assert await asyncio.gather(*(cached.get("k") for _ in range(10))) == [b"1"] * 10
        slow += region.clock.monotonic() - began > 0.045
        await asyncio.sleep(0.1)
    assert region.state.loads - before <= 12
    assert slow <= 12
    region.lines[0].thawed.set()
    await region.wait(2)
    before = region.state.loads
    for _ in range(50):
        await cached.get("k")
        await region.wait(0.1)
    assert region.state.loads - before <= 1, "and the store is used again"


@on_virtual_time
async def test_loads_under_way_at_once_are_bounded(region: Region) -> None:
    region.lines.clear()
    caches, _ = region.cached(loads=4)
    region.lines[0].refused = True
    under_way = most = 0

    async def loader(key: str) -> bytes:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.1)
        under_way -= 1
        return key.encode()

    pages = of("pages", loader, PLAIN, caches=lambda: caches)
    assert await asyncio.gather(*(pages.get(f"{n}") for n in range(40))) == [b"%d" % n for n in range(40)]
    assert most == 4


@on_virtual_time
async def test_a_load_that_takes_too_long_is_told(region: Region) -> None:
    caches = region.process()

    async def loader(key: str) -> bytes:
        await asyncio.sleep(9)
        return b""

    pages = of("pages", loader, aside(load_s=1), caches=lambda: caches)
    with pytest.raises(LoadTimeout, match="longer than 1 s"):
        await pages.get("k")
    with pytest.raises(TimeoutError):
        await pages.get("k", wait_s=0.2)


@on_virtual_time
async def test_what_is_computed_is_dropped_with_what_it_was_made_from(region: Region) -> None:
    made = 0

    async def render(key: str) -> bytes:
        nonlocal made
        made += 1
        loaded = await region.state.load("price")
        return key.encode() + b" at " + (loaded.value or b"?")

    caches, prices = region.cached()
    pages = of("pages", render, PLAIN, depends=lambda key: [("things", "price")], caches=lambda: caches)
    away = region.process()
    pages_away = of("pages", render, PLAIN, depends=[("things", "price")], caches=lambda: away)
    await prices.put("price", b"")
    assert await pages.get("lamp") == b"lamp at 1"
    assert await pages_away.get("lamp") == b"lamp at 1"
    assert made == 1
    await prices.put("price", b"")
    assert await pages.get("lamp") == b"lamp at 2"
    await region.wait(1.1)
    assert await pages_away.get("lamp") == b"lamp at 2"
    region.store.evict("things", "price")  # nobody can tell now whether it was written
    await region.wait(1.1)
    before = made
    await pages.get("lamp")
    assert made == before + 1
    await region.pulses.flush(["things"])
    await region.wait(1.1)
    await pages.get("lamp")
    assert made == before + 2
    await pages.flush()
    await pages.get("lamp")
    assert made == before + 3


@on_virtual_time
async def test_what_is_missing_is_told(region: Region) -> None:
    async def loader(key: str) -> bytes:
        return b""

    caches = Caches(Tiers(region.store, region.clock, region.chance))
    with pytest.raises(NoPosition, match="position"):
        await of("pages", loader, depends=[("things", "k")], caches=lambda: caches).get("k")
    pages = of("others", loader)
    with pytest.raises(NoCaches, match="AtollMiddleware"):
        await pages.get("k")
    CACHES.set(caches)
    assert await pages.get("k") == b""


@on_virtual_time
async def test_a_full_list_of_kept_drops_becomes_a_flush(region: Region) -> None:
    region.state.write("k")
    _, cached = region.cached()
    assert await cached.get("k") == b"1"
    line = Line(region.store, region.chance)
    invalidations = Invalidations(line, region.clock)
    line.refused = True
    dots = [Dropped("things", f"{n}", Dot("east.1700000001", n + 1)) for n in range(20_001)]
    assert not await invalidations.drop(dots)
    assert not await invalidations.pulse(region.clock.monotonic())
    assert invalidations.statistics().kept == 1
    line.refused = False
    assert await invalidations.pulse(region.clock.monotonic())
    await region.wait(1.1)
    before = region.state.loads
    assert await cached.get("k") == b"1"
    assert region.state.loads == before + 1


@on_virtual_time
async def test_a_pulse_that_a_frozen_store_carries_out_late_says_nothing_new(region: Region) -> None:
    line = Line(region.store, region.chance)
    invalidations = Invalidations(line, region.clock)
    assert await invalidations.pulse(region.clock.monotonic())
    line.thawed.clear()
    late = asyncio.create_task(invalidations.pulse(region.clock.monotonic()))
    sent_ms = region.clock.wall() * 1000
    await asyncio.sleep(30)
    line.thawed.set()
    assert await late
    found = await region.process().tiers.store.get(_place(), "t:1", "", 1_000)
    assert found.heard_ms is not None
    assert found.heard_ms <= sent_ms


def _place() -> Any:
    from atoll.cache.store import Place

    return Place("things", "k")
