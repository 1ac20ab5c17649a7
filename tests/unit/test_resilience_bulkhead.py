import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.clock import ManualClock
from atoll.resilience.bulkhead import Bulkhead
from atoll.resilience.criticality import Criticality
from atoll.resilience.gradient import AdaptiveLimit
from atoll.topology import BulkheadPolicy

SHEDDABLE, DEFAULT, CRITICAL = Criticality


def bulkhead(
    limit: int, policy: BulkheadPolicy | None = None, kind: type[Bulkhead] = Bulkhead
) -> tuple[Bulkhead, AdaptiveLimit]:
    clock = ManualClock()
    adaptive = AdaptiveLimit(clock, 1, start=limit)
    return kind(clock, policy or BulkheadPolicy(), adaptive), adaptive


def fill(full: Bulkhead) -> int:
    """Takes every place there is; how many."""
    taken = 0
    while full.try_acquire(CRITICAL):
        taken += 1
    return taken


async def settle() -> None:
    """Lets every task run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


@asynccontextmanager
async def waiters(full: Bulkhead, *criticalities: Criticality) -> AsyncIterator[list[asyncio.Task[bool]]]:
    tasks = []
    for criticality in criticalities:
        tasks.append(asyncio.create_task(full.acquire(criticality, 30.0)))
        await settle()
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_it_gives_out_as_many_places_as_the_limit_has() -> None:
    tried, _ = bulkhead(10)
    assert fill(tried) == 10
    tried.release(0.01, ok=True)
    assert tried.try_acquire(CRITICAL)
    assert not tried.try_acquire(CRITICAL)
    assert tried.statistics().in_flight == tried.in_flight == 10


@given(
    limit=st.integers(1, 2000),
    shares=st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)).map(sorted),
)
def test_less_critical_requests_leave_room_for_more_critical_ones(limit: int, shares: list[float]) -> None:
    sheddable, default = shares
    tried, _ = bulkhead(limit, BulkheadPolicy(sheddable_share=sheddable, default_share=default))
    places = {}
    for criticality in Criticality:
        while tried.try_acquire(criticality):
            pass
        places[criticality] = tried.in_flight
    assert 1 <= places[SHEDDABLE] <= places[DEFAULT] <= places[CRITICAL] == limit
    assert places[SHEDDABLE] <= max(1, limit * sheddable)
    assert places[DEFAULT] <= max(1, limit * default)
    if limit > 1 and default < 1.0:
        assert places[DEFAULT] < limit


def test_one_place_is_everybodys() -> None:
    for criticality in Criticality:
        tried, _ = bulkhead(1)
        assert tried.try_acquire(criticality)


async def test_control_without_shares_the_least_critical_take_everything() -> None:
    tried, _ = bulkhead(10, BulkheadPolicy(sheddable_share=1.0, default_share=1.0))
    while tried.try_acquire(SHEDDABLE):
        pass
    assert not tried.try_acquire(CRITICAL)


async def test_the_most_critical_waiter_is_first_and_equals_keep_their_order() -> None:
    full, _ = bulkhead(3, BulkheadPolicy(sheddable_share=1.0, default_share=1.0))
    fill(full)
    async with waiters(full, SHEDDABLE, DEFAULT, DEFAULT, CRITICAL) as (least, first, second, most):
        for expected in (most, first, second, least):
            assert not expected.done()
            full.release(None, ok=True)
            await settle()
            assert expected.done() and expected.result()
    assert full.statistics().waited == 4
    assert full.in_flight == 3


async def test_nobody_overtakes_those_that_wait() -> None:
    full, _ = bulkhead(10)
    fill(full)
    async with waiters(full, DEFAULT) as (waiting,):
        full.release(None, ok=True)
        assert not full.try_acquire(DEFAULT)
        assert not full.try_acquire(SHEDDABLE)
        full.release(None, ok=True)  # eight are left: one under the share of the one that waits
        await settle()
        assert waiting.done()
        assert not full.try_acquire(DEFAULT)


async def test_a_wait_ends_without_a_place() -> None:
    full, _ = bulkhead(2)
    fill(full)
    assert not await full.acquire(DEFAULT, 0.01)
    assert not await full.acquire(CRITICAL, 0.0)
    assert full.waiting == 0
    assert full.statistics().shed == (0, 1, 1)


async def test_a_full_queue_refuses_at_once_but_a_more_critical_request_pushes_out_the_newest_of_the_least() -> (
    None
):
    full, _ = bulkhead(2, BulkheadPolicy(waiting=3))
    fill(full)
    async with waiters(full, SHEDDABLE, SHEDDABLE, DEFAULT) as (older, newer, other):
        assert full.queue_is_full(SHEDDABLE)
        assert not full.queue_is_full(DEFAULT)
        assert not await full.acquire(SHEDDABLE, 30.0)
        async with waiters(full, CRITICAL) as (critical,):
            assert newer.done() and not newer.result()
            assert not older.done() and not other.done() and not critical.done()
            assert full.waiting == 3
    assert full.statistics().shed == (2, 0, 0)
    assert full.waiting == 0


async def test_while_waits_end_in_vain_nobody_of_that_criticality_or_below_is_let_wait() -> None:
    full, _ = bulkhead(2)
    fill(full)
    assert not await full.acquire(DEFAULT, 0.001)
    assert not full.queue_is_full(DEFAULT)  # nobody stands in it any more
    async with waiters(full, DEFAULT):
        assert full.queue_is_full(DEFAULT)
        assert full.queue_is_full(SHEDDABLE)
        assert not full.queue_is_full(CRITICAL)
        assert not await full.acquire(SHEDDABLE, 30.0)
        clock = full._clock
        assert isinstance(clock, ManualClock)
        clock.advance(BulkheadPolicy().wait_s)
        assert not full.queue_is_full(SHEDDABLE)


async def test_no_queue_means_that_nobody_waits() -> None:
    full, _ = bulkhead(1, BulkheadPolicy(waiting=0))
    fill(full)
    assert full.queue_is_full(CRITICAL)
    assert not await full.acquire(CRITICAL, 30.0)


async def test_a_limit_that_grows_wakes_those_that_wait() -> None:
    full, limit = bulkhead(4)
    limit.cap(2)
    fill(full)
    async with waiters(full, CRITICAL, CRITICAL) as (one, other):
        limit.cap(None)
        await settle()
        assert one.done() and other.done()
    assert full.in_flight == 4


async def test_a_limit_that_shrinks_takes_no_place_away_but_gives_none_either() -> None:
    full, limit = bulkhead(4)
    fill(full)
    limit.cap(2)
    for _ in range(2):
        full.release(None, ok=True)
        assert not full.try_acquire(CRITICAL)
    full.release(None, ok=True)
    assert full.try_acquire(CRITICAL)


class _Leaky(Bulkhead):
    """Forgets that a waiter that is cancelled may have been granted its place already."""

    async def acquire(self, criticality: Criticality, wait_s: float) -> bool:
        before = self._in_flight
        try:
            return await super().acquire(criticality, wait_s)
        except asyncio.CancelledError:
            self._in_flight = max(before, self._in_flight)
            raise


@pytest.mark.parametrize(("kind", "left"), [(Bulkhead, 2), (_Leaky, 3)], ids=["real", "control"])
async def test_a_waiter_cancelled_in_the_moment_of_its_grant_gives_the_place_back(
    kind: type[Bulkhead], left: int
) -> None:
    full, _ = bulkhead(3, kind=kind)
    fill(full)
    async with waiters(full, CRITICAL) as (waiting,):
        full.release(None, ok=True)  # granted: its future has a result, and the task has not run yet
        waiting.cancel()
    assert waiting.cancelled()
    assert full.in_flight == left


async def test_a_place_given_back_by_a_cancelled_waiter_goes_to_the_next() -> None:
    full, _ = bulkhead(3)
    fill(full)
    async with waiters(full, CRITICAL, CRITICAL) as (one, other):
        full.release(None, ok=True)
        one.cancel()
        await settle()
        assert other.done() and other.result()
    assert full.in_flight == 3


class _Sleepy(Bulkhead):
    """Frees a place and tells nobody."""

    def _free(self) -> None:
        self._in_flight -= 1


async def _storm(tried: Bulkhead, limit: AdaptiveLimit, seed: int) -> bool:
    """Many requests at random, some given up, under a limit that changes; whether nobody overslept a place."""
    print(f"seed {seed}")
    random = Random(seed)
    held = 0
    awake = True

    async def request(criticality: Criticality) -> None:
        nonlocal held
        if not await tried.acquire(criticality, random.choice((0.0, 0.002, 0.02))):
            return
        held += 1
        try:
            await asyncio.sleep(random.choice((0.0, 0.0, 0.0005, 0.002)))
        finally:
            held -= 1
            tried.release(0.01, ok=random.random() < 0.9)

    def check() -> None:
        nonlocal awake
        assert tried.waiting == sum(len(queue) for queue in tried._queues)
        for criticality in Criticality:
            if tried.has_place(criticality) and any(not place.done() for place in tried._queues[criticality]):
                awake = False

    tasks: list[asyncio.Task[None]] = []
    for _ in range(300):
        tasks += [
            asyncio.create_task(request(random.choice(list(Criticality)))) for _ in range(random.randrange(8))
        ]
        if tasks and random.random() < 0.5:
            random.choice(tasks).cancel()
        most = random.choice((None, None, 3, 12))
        if random.random() < 0.1:
            limit.cap(most)
        before = tried.in_flight
        await asyncio.sleep(0)
        assert held <= tried.in_flight
        assert tried.in_flight <= max(limit.limit, before)
        check()
    await asyncio.wait(tasks)
    assert held == 0
    if awake:
        assert tried.in_flight == 0
        assert tried.waiting == 0
    return awake


@pytest.mark.parametrize("seed", range(8))
async def test_under_cancellation_and_change_no_place_is_lost_and_nobody_oversleeps(seed: int) -> None:
    tried, limit = bulkhead(12, BulkheadPolicy(waiting=16))
    assert await _storm(tried, limit, seed)


async def test_control_a_bulkhead_that_wakes_nobody_is_caught() -> None:
    tried, limit = bulkhead(12, BulkheadPolicy(waiting=16), _Sleepy)
    assert not await _storm(tried, limit, 0)


async def test_times_and_refusals_reach_the_limit() -> None:
    tried, limit = bulkhead(10)
    for _ in range(64):
        assert tried.try_acquire(CRITICAL)
        tried.release(0.02, ok=True)
    assert limit.statistics().usual_s == pytest.approx(0.02)
    for _ in range(3):
        assert tried.try_acquire(CRITICAL)
        tried.release(None, ok=False)
    assert limit._turned_away == 3
