"""Work on keys that goes on when nobody waits for it any more: a client went away, or a store did not answer."""

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from atoll.clock import Clock
from atoll.resilience.backoff import Backoff
from atoll.resilience.idempotency import Claim, Settlement
from atoll_gateway.keys.contract import Keys, KeysUnavailable
from atoll_gateway.message import Response

PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
"""Pauses between tries to settle a claim, with full jitter: at first about a tenth of a store's restart."""

UNSETTLED = 256
"""Claims that are settled later, at most; what exceeds it is left to the lease, and its outcome is unknown then."""


@dataclass(frozen=True, slots=True)
class SettlingStatistics:
    """A snapshot."""

    running: int
    """Keyed requests under way, those whose clients went away included."""
    unsettled: int
    """Claims whose settlement is tried again and again."""
    given_up: int
    """Claims that were left to their lease."""


class Settling:
    """The tasks behind keyed requests. `close` ends them as a crash would: leases see to the rest."""

    def __init__(self, clock: Clock, chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self._running: set[asyncio.Task[Response]] = set()
        self._unsettled: set[asyncio.Task[None]] = set()
        self._given_up = 0

    async def shielded(self, work: Coroutine[Any, Any, Response]) -> Response:
        """Does a request's work to its end, also if whoever waits for it is cancelled. The work bounds itself."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_drop)
            raise

    async def settle(self, keys: Keys, claim: Claim, settlement: Settlement, answer: bytes = b"") -> bool:
        """Settles a claim now, or else later until its lease ends. True if it is settled now."""
        try:
            return await keys.settle(claim, settlement, answer)
        except KeysUnavailable:
            self._later(keys, claim, settlement, answer)
            return False

    def withdraw(self, keys: Keys, claim: Claim) -> None:
        """Takes a claim back that may or may not have reached the records, or may still be on its way there."""
        self._later(keys, claim, Settlement.RELEASE, b"")

    async def finish(self) -> None:
        """Returns when no keyed request is under way and no settlement open."""
        while tasks := [*self._running, *self._unsettled]:
            await asyncio.wait(tasks)

    def close(self) -> None:
        """Ends every task."""
        for task in (*self._running, *self._unsettled):
            task.cancel()

    def statistics(self) -> SettlingStatistics:
        return SettlingStatistics(len(self._running), len(self._unsettled), self._given_up)

    def _later(self, keys: Keys, claim: Claim, settlement: Settlement, answer: bytes) -> None:
        if len(self._unsettled) >= UNSETTLED:
            self._given_up += 1
            return
        task = asyncio.get_running_loop().create_task(self._try_on(keys, claim, settlement, answer))
        self._unsettled.add(task)
        task.add_done_callback(self._unsettled.discard)

    async def _try_on(self, keys: Keys, claim: Claim, settlement: Settlement, answer: bytes) -> None:
        until = self._clock.monotonic() + claim.lease_ms / 1000
        backoff = Backoff(PAUSE_S, LONGEST_PAUSE_S, self._chance)
        while self._clock.monotonic() < until:
            await asyncio.sleep(backoff.next_s())
            try:
                settled = await keys.settle(claim, settlement, answer)
            except KeysUnavailable:
                continue
            # A claim to be taken back may not have come yet: a store that hung works off what waits for it.
            if settled or settlement is not Settlement.RELEASE:
                return
        self._given_up += 1


def _drop(task: asyncio.Task[Response]) -> None:
    """Nobody waits for this answer: a failure has been dealt with, a body that still comes is given up."""
    if task.cancelled() or task.exception() is not None:
        return
    response = task.result()
    if response.close is not None:
        response.close()
