"""Leases: one holder at a time, tokens that rise, and no clock compared with another's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.strong_local import NAMESPACE, Local

from atoll.clock import ManualClock
from atoll.state.strong.backend import Change, Outcome, StrongBackend, Unknown, Versioned
from atoll.state.strong.leases import DRIFT, Lease, LeaseLost, Leases


def leases(backend: StrongBackend, holder: str, clock: ManualClock) -> Leases:
    return Leases(backend, NAMESPACE, holder, clock)


async def taken(holder: Leases, term_s: float = 10.0) -> Lease:
    lease = await holder.acquire("job", term_s)
    assert lease is not None
    return lease


async def test_one_holds_it_and_renews_and_gives_it_back() -> None:
    backend = await Local().founded("p.1")
    clock = ManualClock()
    one, other = leases(backend, "one", clock), leases(backend, "other", clock)
    lease = await taken(one)
    assert lease.until == 10.0 * (1 - DRIFT)
    assert await other.acquire("job", 10.0) is None
    clock.advance(5.0)
    renewed = await one.renew(lease)
    assert renewed.token == lease.token and renewed.until == 5.0 + 10.0 * (1 - DRIFT)
    with pytest.raises(LeaseLost):
        await one.renew(lease)  # an older state of it
    assert await one.release(renewed)
    assert not await one.release(renewed)
    assert (await taken(other)).token > lease.token


async def test_who_waits_counts_from_what_it_saw_on_its_own_clock() -> None:
    backend = await Local().founded("p.1")
    slow, fast = ManualClock(epoch=0.0), ManualClock(now=1e6)
    one, other = leases(backend, "one", slow), leases(backend, "other", fast)
    lease = await taken(one)
    watching = ManualClock()
    third = leases(backend, "third", watching)
    assert await other.acquire("job", 1.0) is None, "a first look takes nothing over, whatever any clock says"
    assert await third.acquire("job", 1.0, wait_s=0.0) is None
    assert (await one.renew(lease)).token == lease.token


async def test_a_lease_that_nobody_keeps_is_taken_over_and_its_holder_finds_out() -> None:
    backend = await Local().founded("p.1")
    clock = ManualClock()
    one = leases(backend, "one", clock)
    lease = await taken(one, term_s=0.3)

    class Ticking(ManualClock):
        def monotonic(self) -> float:
            self.advance(0.05)
            return super().monotonic()

    other = leases(backend, "other", Ticking())
    over = await other.acquire("job", 10.0, wait_s=30.0)
    assert over is not None and over.token > lease.token
    with pytest.raises(LeaseLost, match="not ours any more"):
        await one.renew(lease)


async def test_an_outcome_that_got_lost_is_asked_for_again() -> None:
    class Forgetful:
        """Does the change and loses the answer, once."""

        def __init__(self, backend: StrongBackend) -> None:
            self.backend = backend
            self.lost = 0

        async def get(self, namespace: str, key: str, *, timeout_s: float | None = None) -> Versioned | None:
            return await self.backend.get(namespace, key)

        async def change(
            self, namespace: str, key: str, change: Change, *, timeout_s: float | None = None
        ) -> Outcome:
            outcome = await self.backend.change(namespace, key, change)
            self.lost += 1
            if self.lost == 1:
                raise Unknown("lost")
            return outcome

    assert (await taken(leases(Forgetful(await Local().founded("p.1")), "one", ManualClock()))).token == 1


@settings(max_examples=50, deadline=None)
@given(st.floats(1 - DRIFT / 2, 1 + DRIFT / 2), st.floats(0.01, 3.0), st.lists(st.booleans(), max_size=8))
async def test_clocks_of_other_speeds_never_make_two_holders(
    speed: float, step: float, renewals: list[bool]
) -> None:
    """Two clocks drift apart by up to `DRIFT`; while the holder believes in its lease nobody else gets it."""
    backend = await Local().founded("p.1")
    mine, theirs = ManualClock(), ManualClock(now=77.0)
    one, other = leases(backend, "one", mine), leases(backend, "other", theirs)
    lease = await taken(one, term_s=4.0)
    watch = other.watch()
    for renew in [*renewals, *[False] * 20]:
        mine.advance(step)
        theirs.advance(step * speed)
        if await other.try_once("job", 4.0, watch) is not None:
            assert mine.monotonic() > lease.until
            return
        if renew and mine.monotonic() < lease.until:
            lease = await one.renew(lease)
