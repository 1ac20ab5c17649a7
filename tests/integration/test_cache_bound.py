"""Caches over the state of three regions, with real stores, agents and links.

A control takes away what a guarantee rests on, and shows that its test would then fail.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from random import Random

import pytest
import pytest_asyncio
from tests.integration.state_cells import Cell, Cells, cells, until

from atoll import cache, state
from atoll.agent import invalidate
from atoll.agent.invalidate import written
from atoll.cache import Caches, CachesStatistics, Dropped, Invalidations, TierPolicy, ValkeyCacheStore, aside
from atoll.clock import SystemClock
from atoll.state.sdk.access import StateAccess
from atoll.state.sdk.scope import entered
from atoll.state.store import ApplyResult, Batch
from atoll.state.valkey_store import ValkeyStore
from atoll.state.values import codec_for
from atoll.state.vector import Dot

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]

A, C = "eu-west", "us-east"
NAMESPACES = """
[namespaces.prices]
level = "eventual"
[namespaces.carts]
level = "session"
[namespaces.bounded]
level = "eventual"
max_staleness = "2s"
[namespaces.stock]
level = "strong"
"""
LASTING = aside(ttl_s=3600, early=0, load_s=10)
PATIENT = TierPolicy(store_wait_s=5.0)
"""The store's bound is out of the way: on a machine with other work a slow answer would be a load."""
TRUSTING = TierPolicy(store_wait_s=5.0, trust_s=60.0)
"""So is the pulse, where a test is not about it: under a load its agent may be late, and nothing would be believed."""

prices = state.namespace("prices")
cached = cache.over(prices, LASTING, model=int)
carts = cache.over(state.namespace("carts"), LASTING, model=int)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cells]:
    async with cells(tmp_path_factory.mktemp("cache"), NAMESPACES) as made:
        yield made


@contextlib.asynccontextmanager
async def process(cell: Cell, policy: TierPolicy | None = PATIENT) -> AsyncIterator[StateAccess]:
    """A replica's process, which has nothing in its memory yet."""
    access = StateAccess.open(cell.wiring_file, SystemClock(), Random())
    cache.opened(access, policy)
    try:
        yield access
    finally:
        await access.close()


async def read(cell: Cell, key: str, policy: TierPolicy = PATIENT) -> int | None:
    """What a process that has just come up answers."""
    async with process(cell, policy) as access:
        with entered(access.scope()):
            return await cached.get(key)


async def write(cell: Cell, key: str, value: int, *, dies: bool = False) -> None:
    async with process(cell) as access:
        if dies:  # between its write and its drop
            assert access.companion is not None
            await access.companion.close()
            access.companion = None
        with entered(access.scope()):
            await prices.register(key, int).set(value)


async def filled(three: Cells, key: str, value: int) -> None:
    """The value is in the state and in the cache store of every region."""
    await write(three[A], key, value)
    await three.settled()
    for cell in three.cells.values():

        async def hits(cell: Cell = cell) -> bool:
            async with process(cell, TRUSTING) as access:
                with entered(access.scope()):
                    assert await cached.get(key) == value
                assert isinstance(access.companion, Caches)
                return access.companion.statistics().tiers.hits == 1

        await until(hits)


@pytest.fixture
def deaf() -> Iterator[pytest.MonkeyPatch]:
    """Agents that drop nothing, and say all the same that they do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(invalidate, "written", lambda _: [])
        yield patch


async def test_a_write_in_one_region_drops_the_key_in_all(three: Cells) -> None:
    await filled(three, "lamp", 1)
    await write(three[A], "lamp", 2)
    await three.settled()
    for cell in three.cells.values():
        assert await read(cell, "lamp") == 2


async def test_control_without_the_agents_drops_other_regions_keep_the_old_value(
    three: Cells, deaf: pytest.MonkeyPatch
) -> None:
    await filled(three, "lamp2", 1)
    await write(three[A], "lamp2", 2)
    await three.settled()
    assert await read(three[C], "lamp2", TRUSTING) == 1
    assert await read(three[A], "lamp2") == 2, "the writer itself has dropped it"


async def overtaken(three: Cells, key: str) -> list[int | None]:
    """What `key` is said to be in a region whose agent stands still: before it applies a write to the state, and after.

    Before is the reader who would fill the cache with the old value; after is the one who must not find it there.
    """
    await filled(three, key, 1)
    at, on = (asyncio.Event(), asyncio.Event()), (asyncio.Event(), asyncio.Event())
    apply = ValkeyStore.apply

    async def held_up(store: ValkeyStore, batch: Batch) -> ApplyResult:
        entries = ((Dot(batch.actor, seq), operation) for seq, operation in batch.entries)
        if store.region != C or key not in {found.key for found in written(entries)}:
            return await apply(store, batch)
        at[0].set()
        await on[0].wait()
        result = await apply(store, batch)
        at[1].set()
        await on[1].wait()
        return result

    async def drops_are_done() -> bool:
        """A store that is slow gets them a moment later; until then there is no pulse, so it is not believed."""
        agent = three[C].agent
        assert agent is not None
        return agent.invalidator.statistics().kept == 0

    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ValkeyStore, "apply", held_up)
        await write(three[A], key, 2)
        try:
            for reached, going_on in zip(at, on, strict=True):
                await asyncio.wait_for(reached.wait(), 120)
                await until(drops_are_done)
                seen.append(await read(three[C], key, TRUSTING))
                going_on.set()
        finally:
            for going_on in on:
                going_on.set()
    await three.settled()
    assert await read(three[C], key) == 2, "in the end it is dropped in any order"
    return seen


async def test_floors_come_before_the_state(three: Cells) -> None:
    """Whoever loads after the drop, but before the write is there, must not fill the cache with what it found."""
    assert await overtaken(three, "floor") == [1, 2]


async def test_control_with_the_state_before_the_floors_a_reader_is_shown_the_old_value(
    three: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.asynccontextmanager
    async def afterwards(self: Invalidations, dropped: Sequence[Dropped]) -> AsyncIterator[None]:
        yield
        await self.drop(dropped)

    monkeypatch.setattr(Invalidations, "applying", afterwards)
    assert await overtaken(three, "no floor") == [1, 1]


async def test_a_write_through_any_handle_drops_at_once(three: Cells, deaf: pytest.MonkeyPatch) -> None:
    """No agent's drop is waited for: there is none."""
    async with process(three[A]) as writer, process(three[A]) as reader:

        async def total(key: str) -> int:
            sums = sum((await prices.map(key, int).items()).values()) + await prices.counter(key).value()
            return sums + len(await prices.set(key).members())

        totals = cache.of(
            "totals", total, LASTING, codec=codec_for(int), depends=lambda key: [("prices", key)]
        )
        expected = 0
        with entered(reader.scope()):
            assert await totals.get("all") == 0
        for change in (
            lambda: prices.map("all").set("a", 1),
            lambda: prices.counter("all").add(1),
            lambda: prices.set("all").add("x"),
        ):
            with entered(writer.scope()):
                await change()
                expected += 1
                assert await totals.get("all") == expected
            async with process(three[A]) as other:
                with entered(other.scope()):
                    assert await totals.get("all") == expected


async def test_a_writer_that_dies_before_its_drop_leaves_nothing_stale(three: Cells) -> None:
    await filled(three, "dead", 1)
    await write(three[A], "dead", 2, dies=True)

    async def dropped() -> bool:
        return await read(three[A], "dead") == 2

    await until(dropped)
    await filled(three, "dead2", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(invalidate, "written", lambda _: [])
        await write(three[A], "dead2", 2, dies=True)
        await three.settled()
        assert await read(three[A], "dead2", TRUSTING) == 1, "control: nobody but the agent drops it"


async def test_a_session_is_never_shown_less_than_it_has_seen(three: Cells, deaf: pytest.MonkeyPatch) -> None:
    async with process(three[A]) as here, process(three[C]) as there:
        with entered(here.scope()):
            await carts.put("mine", 1)
        await three.settled()
        with entered(there.scope()):
            assert await carts.get("mine") == 1
        mine = here.scope()
        with entered(mine):
            await carts.put("mine", 2)
        token = await here.token(mine.session)
        again = there.scope(token)
        with entered(again):
            assert await carts.get("mine") == 2, "it has waited for the state, and passed the cache by"
        nobody = there.scope()
        await three.settled()
        async with process(three[C]) as other:
            with entered(other.scope(token)):
                assert await carts.get("mine") == 2
        with entered(nobody):
            first = await carts.get("mine")
            assert first in {1, 2}
            assert nobody.session.grown, "what it was shown it must not be shown older elsewhere"
        eventual = here.scope()
        with entered(eventual):
            await cached.put("no session", 1)
        assert not eventual.session.grown


async def test_without_its_token_a_reader_is_shown_what_the_cache_has(
    three: Cells, deaf: pytest.MonkeyPatch
) -> None:
    """The control of the one before."""
    async with process(three[A]) as here, process(three[C], TRUSTING) as there:
        with entered(here.scope()):
            await carts.put("theirs", 1)
        await three.settled()
        with entered(there.scope()):
            assert await carts.get("theirs") == 1
        with entered(here.scope()):
            await carts.put("theirs", 2)
        await three.settled()
        async with process(three[C], TRUSTING) as other:
            with entered(other.scope()):
                assert await carts.get("theirs") == 1


async def test_while_the_agent_is_dead_nothing_from_the_cache_is_believed_for_long(three: Cells) -> None:
    await filled(three, "orphan", 1)
    await three[C].stop_agent()
    store = ValkeyCacheStore(three[C].cache.client())

    async def pulses() -> None:
        """As of somebody who drops nothing."""
        heard_ms = 0
        while True:
            heard_ms = await store.pulse(heard_ms)
            await asyncio.sleep(0.1)

    try:
        pulsing = asyncio.create_task(pulses())
        await write(three[C], "orphan", 2, dies=True)
        await asyncio.sleep(1.5)
        assert await read(three[C], "orphan") == 1, "control: somebody says that all is dropped"
        pulsing.cancel()

        readers: list[Caches] = []

        async def noticed() -> bool:
            async with process(three[C]) as access:
                readers.append(cache.opened(access))
                with entered(access.scope()):
                    return await cached.get("orphan") == 2

        try:
            await until(noticed)
        except TimeoutError:
            pytest.fail(f"it is still shown; the last of {len(readers)} readers: {readers[-1].statistics()}")
    finally:
        await store.close()
        await three[C].start_agent()
    await three.settled()


async def test_an_expired_value_is_shown_by_no_cache(three: Cells) -> None:
    async with process(three[A]) as access:
        with entered(access.scope()):
            for ttl_s in (1.0, 5.0, 20.0):
                await prices.register("soon", int).set(7, ttl_s=ttl_s)
                if await cached.get("soon") == 7:
                    break  # on a busy machine it may be over before it is read
            else:
                pytest.fail("it is never shown, though it has not expired")
            await asyncio.sleep(ttl_s + 0.05)
            assert await cached.get("soon") is None


async def test_a_thousand_readers_of_an_expired_key_make_one_load_in_a_region(three: Cells) -> None:
    short = cache.over(prices, aside(ttl_s=0.4, stale_s=0, error_s=0, early=0, load_s=10), model=int)
    # What the one load brings must outlive the slowest reader, on whatever machine.
    lasting = cache.over(prices, aside(ttl_s=3600, stale_s=0, error_s=0, early=0, load_s=10), model=int)
    await write(three[A], "herd", 5)
    async with contextlib.AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(process(three[A], TRUSTING)) for _ in range(4)]

        def loads() -> int:
            return sum(one.tiers.loads for one in told())

        def told() -> list[CachesStatistics]:
            found = [one.companion for one in processes]
            return [one.statistics() for one in found if isinstance(one, Caches)]

        async def readers() -> int:
            async def reader(access: StateAccess) -> int | None:
                with entered(access.scope()):
                    return await lasting.get("herd")

            before = loads()
            tasks = [asyncio.create_task(reader(access)) for access in processes for _ in range(250)]
            assert await asyncio.gather(*tasks) == [5] * 1000
            return loads() - before

        for access in processes:
            with entered(access.scope()):
                await short.get("herd")
        await asyncio.sleep(0.6)
        agent = three[A].agent
        assert agent is not None
        flushed = agent.invalidator.statistics()
        made = await readers()
        assert made == 1, f"{told()}; the agent's: {agent.invalidator.statistics()}, before: {flushed}"
        await three[A].cache.kill()
        await asyncio.sleep(1.1)
        try:
            assert await readers() == 4, "control: without the store's lease it is one a process"
        finally:
            await three[A].cache.start()


async def test_answers_and_replication_go_on_without_the_cache_store(three: Cells) -> None:
    """Gone, then frozen. Once it is back, what was written meanwhile is not to be had from it."""
    await filled(three, "away", 1)
    cell = three[C]
    for frozen, value in ((False, 2), (True, 4)):
        if frozen:
            cell.cache.freeze()
        else:
            await cell.cache.kill()
        try:
            async with process(cell, None) as access:
                with entered(access.scope()):
                    await cached.put("away", value)
                    assert await cached.get("away") == value
                for turn in range(20):
                    await write(three[A], f"away-{turn}", value)
                await write(three[A], "away", value + 1)
                await three.settled()
                with entered(access.scope()):
                    await until(_shows(value + 1))
        finally:
            if frozen:
                cell.cache.thaw()
            else:
                await cell.cache.start()
        assert await read(cell, "away") == value + 1

        async def hits() -> bool:
            async with process(cell) as access:
                with entered(access.scope()):
                    await cached.get("away")
                assert isinstance(access.companion, Caches)
                return access.companion.statistics().tiers.hits == 1

        await until(hits)


async def test_a_transfer_drops_what_it_may_have_changed(three: Cells, deaf: pytest.MonkeyPatch) -> None:
    """It brings states and no writes, so each of its steps ends the whole namespace's entries."""
    await filled(three, "moved", 1)
    await write(three[A], "moved", 2)
    await three.settled()
    agent = three[C].agent
    assert agent is not None
    assert await read(three[C], "moved", TRUSTING) == 1, "control: nobody has dropped it"
    await agent.store.merge("prices", [])

    async def dropped() -> bool:  # at once, or before the next pulse if the store was too slow for the guard
        return await read(three[C], "moved") == 2

    await until(dropped)


async def test_strong_namespaces_and_bounds_are_kept(three: Cells) -> None:
    stock = cache.over(state.namespace("stock"), LASTING)
    bounded = cache.over(state.namespace("bounded"), LASTING, model=int)
    async with process(three[C]) as access:
        with entered(access.scope()):
            with pytest.raises(state.UnknownNamespace, match="strong"):
                await stock.get("a")
            await bounded.put("k", 1)
            await until(_within(bounded))
            await three.cut(C)
            try:
                async with asyncio.timeout(60):
                    while await _within(bounded)():
                        await asyncio.sleep(0.05)
                with pytest.raises(state.RegionBehind, match="allows 2 s"):
                    await bounded.get("k")
                assert await cached.get("unbounded") is None
            finally:
                await three.heal()


def _shows(value: int) -> Callable[[], Awaitable[bool]]:
    async def shows() -> bool:
        return await cached.get("away") == value

    return shows


def _within(bounded: cache.Cached[int]) -> Callable[[], Awaitable[bool]]:
    async def within() -> bool:
        try:
            return await bounded.get("k") == 1
        except state.RegionBehind:
            return False

    return within
