"""What replicas tell of their waits for sessions: everything in the end, seldom, and nothing twice without need."""

import asyncio

from atoll.state.errors import StoreUnavailable
from atoll.state.sdk import waits as module
from atoll.state.sdk.waits import Waits
from atoll.state.store import SessionWaits


class Counts:
    """A store's counts, which can be away."""

    def __init__(self) -> None:
        self.told: list[SessionWaits] = []
        self.away = False
        self.heard = asyncio.Event()

    async def tell(self, waits: SessionWaits) -> None:
        self.heard.set()
        if self.away:
            raise StoreUnavailable("gone", sent=False)
        self.told.append(waits)


async def test_waits_are_told_together_and_kept_while_the_store_is_away() -> None:
    counts = Counts()
    waits = Waits(counts.tell)
    counts.away = True
    waits.add(0.02, behind=False)
    waits.add(0.15, behind=True)
    async with asyncio.timeout(20):
        await counts.heard.wait()
    counts.away = False
    assert not counts.told
    waits.add(0.03, behind=False)
    counts.heard.clear()
    async with asyncio.timeout(20):
        await counts.heard.wait()
    assert counts.told == [SessionWaits(waits=3, behind=1, waited_ms=200)]
    await waits.close()


async def test_who_never_waits_tells_nothing() -> None:
    counts = Counts()
    waits = Waits(counts.tell)
    await asyncio.sleep(0)
    await waits.close()
    assert not counts.told
    assert module.TOLD_EVERY_S >= 1, "each is a write to the store"
