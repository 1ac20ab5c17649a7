"""Places for requests of one service in one region, so that none can fill the whole gateway.

The bulkhead is Michael Nygard's ("Release It!", 2007, chapter 5), its shape that of anyio's `CapacityLimiter`. The
limit is shared by trunk reservation, as in telephone networks: a less critical request finds a place only while so many
are free that the more critical ones have theirs. That takes one comparison, and no place is kept empty for nobody.

Those that find none may wait: the most critical first, in order of arrival among equals. (Last come, first served under
overload, as Facebook does it, saves requests whose clients have not given up yet; here nobody waits longer than a tenth
of a second, which does the same and is fair. See Ben Maurer, "Fail at Scale", ACM Queue, 2015.) A queue is for a burst.
While one stands, so that waits in it end without a place, only the most critical are still let in: all others would
wait in vain as well.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from atoll.clock import Clock
from atoll.resilience.criticality import Criticality
from atoll.resilience.gradient import AdaptiveLimit
from atoll.topology import BulkheadPolicy

_MOST_CRITICAL_FIRST = sorted(Criticality, reverse=True)

_Place = asyncio.Future[bool]
"""What a waiter awaits: true is a place, which is counted already; false is none."""


@dataclass(frozen=True, slots=True)
class BulkheadStatistics:
    """A snapshot. Counters run from the start of this process, an item a criticality, least critical first."""

    limit: int
    in_flight: int
    waiting: int
    waited: int
    """Requests that got their place by waiting."""
    waited_s: float
    """Seconds spent waiting, whatever came of it."""
    shed: tuple[int, ...]
    """Requests that got none."""


class Bulkhead:
    """At most `limit.limit` requests in flight. For one event loop; not for several threads.

    Every place that `try_acquire` or `acquire` gave is given back by exactly one `release`.
    """

    __slots__ = (
        "_clock",
        "_gave_up",
        "_in_flight",
        "_limit",
        "_policy",
        "_queues",
        "_room",
        "_shed",
        "_waited",
        "_waited_s",
        "_waiting",
    )

    def __init__(self, clock: Clock, policy: BulkheadPolicy, limit: AdaptiveLimit) -> None:
        self._clock = clock
        self._policy = policy
        self._limit = limit
        self._in_flight = 0
        self._room = (0, 0, 0)
        """By criticality: a request gets a place while fewer than this are in flight."""
        self._queues: tuple[deque[_Place], ...] = tuple(deque() for _ in Criticality)
        self._waiting = 0
        self._gave_up = [-policy.wait_s] * len(Criticality)
        """When a wait last ended without a place, by criticality."""
        self._waited = 0
        self._waited_s = 0.0
        self._shed = [0] * len(Criticality)
        limit.changed = self._divide
        self._divide()

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def waiting(self) -> int:
        return self._waiting

    def try_acquire(self, criticality: Criticality) -> bool:
        """Takes a place if there is one. It is nobody's who waits: they would have had it before."""
        if self._in_flight < self._room[criticality]:
            self._in_flight += 1
            return True
        return False

    async def acquire(self, criticality: Criticality, wait_s: float) -> bool:
        """Takes a place, if need be after waiting for it up to `wait_s` seconds; false if there was none.

        If the queue is full, the least critical one that waits makes room for a more critical one. If this is
        cancelled no place is taken.
        """
        if self.try_acquire(criticality):
            return True
        if wait_s <= 0.0 or not self._queue_has_room(criticality):
            self._shed[criticality] += 1
            return False
        if self._waiting >= self._policy.waiting:
            self._push_out()
        loop = asyncio.get_running_loop()
        place: _Place = loop.create_future()
        queue = self._queues[criticality]
        queue.append(place)
        self._waiting += 1
        since = self._clock.monotonic()
        timer = loop.call_later(wait_s, self._expire, criticality, place)
        try:
            got = await place
        except asyncio.CancelledError:
            if not self._give_up(queue, place) and not place.cancelled() and place.result():
                self._free()  # it was granted in the very moment
            raise
        finally:
            timer.cancel()
            self._waited_s += self._clock.monotonic() - since
        if got:
            self._waited += 1
        else:
            self._shed[criticality] += 1
        return got

    def release(self, seconds: float | None, ok: bool) -> None:
        """Gives a place back. `seconds` is what the request took; None if that says nothing.

        `ok`: it was answered. If not, `seconds` is what it had taken by then; None with not `ok` means that the far
        side turned it away because it was full.
        """
        if seconds is not None:
            self._limit.sample(seconds, self._in_flight, ok=ok)
        elif not ok:
            self._limit.turned_away(self._in_flight)
        self._free()

    def sample(self, seconds: float) -> None:
        """The head of an answer came after `seconds`, while its body goes on holding the place."""
        self._limit.sample(seconds, self._in_flight)

    def has_place(self, criticality: Criticality) -> bool:
        """Whether `try_acquire` would succeed."""
        return self._in_flight < self._room[criticality]

    def queue_is_full(self, criticality: Criticality) -> bool:
        """Whether a request that found no place would not even be let wait."""
        return not self._queue_has_room(criticality)

    def cap(self, most: int | None) -> None:
        """Bounds the limit by what the region says that it takes."""
        self._limit.cap(most)

    def statistics(self) -> BulkheadStatistics:
        return BulkheadStatistics(
            limit=self._limit.limit,
            in_flight=self._in_flight,
            waiting=self._waiting,
            waited=self._waited,
            waited_s=self._waited_s,
            shed=tuple(self._shed),
        )

    def _divide(self) -> None:
        """The limit has changed."""
        limit = self._limit.limit
        policy = self._policy
        self._room = (
            max(1, int(limit * policy.sheddable_share)),
            max(1, int(limit * policy.default_share)),
            limit,
        )
        self._grant()

    def _free(self) -> None:
        self._in_flight -= 1
        if self._waiting:
            self._grant()

    def _grant(self) -> None:
        """Gives what places there are to those who wait, so that none is free for whom one of them could have it."""
        for criticality in _MOST_CRITICAL_FIRST:
            queue = self._queues[criticality]
            while queue and self._in_flight < self._room[criticality]:
                place = queue.popleft()
                self._waiting -= 1
                if not place.done():
                    self._in_flight += 1
                    place.set_result(True)

    def _queue_has_room(self, criticality: Criticality) -> bool:
        most = self._policy.waiting
        if self._waiting >= most and not (most and any(self._queues[:criticality])):
            return False
        if criticality is Criticality.CRITICAL:
            return True
        standing = self._clock.monotonic() - self._policy.wait_s
        return not any(
            queue and gave_up > standing
            for queue, gave_up in zip(self._queues[criticality:], self._gave_up[criticality:], strict=True)
        )

    def _expire(self, criticality: Criticality, place: _Place) -> None:
        if self._give_up(self._queues[criticality], place):
            self._gave_up[criticality] = self._clock.monotonic()

    def _push_out(self) -> None:
        """The newest of the least critical: it has waited the least."""
        queue = next(queue for queue in self._queues if queue)
        place = queue.pop()
        self._waiting -= 1
        if not place.done():
            place.set_result(False)

    def _give_up(self, queue: deque[_Place], place: _Place) -> bool:
        """Takes one that still waits out of its queue; false if it does not wait any more."""
        if place not in queue:
            return False
        queue.remove(place)
        self._waiting -= 1
        if not place.done():
            place.set_result(False)
        return True
