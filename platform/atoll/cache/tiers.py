"""The way of a read: memory, then the region's cache store, then the loader.

One flight a record in this process, one lease a record in the region; while the store gives no answer, a flight a
process and a limit on loads are what the source is protected by.

How old can an answer be? What the region's state had `trust_s` before a read begins is in its answer, whoever died or
could not be reached (entries are believed for so long after the invalidator was last heard, and a process's memory
keeps them no longer either). Two exceptions: a load that takes longer, and a source that fails while `Policy.error_s`
lets an older entry be served.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from atoll.cache.entry import Entry, NotAnEntry, decode, encode
from atoll.cache.flights import Flights, FlightsStatistics
from atoll.cache.freshness import Freshness, judge, trusted_until_ms
from atoll.cache.guard import GuardedStore
from atoll.cache.memory import Memory, MemoryStatistics
from atoll.cache.policy import Policy, TierPolicy
from atoll.cache.source import Loaded
from atoll.cache.store import CacheStore, CacheStoreUnavailable, Dropped, Fill, Found, LeaseState, Place
from atoll.clock import Clock
from atoll.resilience.breaker import BreakerStatistics
from atoll.state.vector import NOTHING, Vector

RELOADS = 2
"""How often a value that a drop overtook is loaded again. The drop comes a moment before the write is in the state; if
it still isn't after that, the value is what the state has to say, and is answered without being kept."""


class LoadTimeout(TimeoutError):
    """A load took longer than its cache allows, and there is nothing to serve instead."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a read is for."""

    place: Place
    record: str
    """Its name in memory."""
    depends: tuple[str, ...]
    """Names in memory of the records whose floors count as well."""
    load: Callable[[], Awaitable[Loaded]]
    policy: Policy
    dropped: bool
    """Whether writes drop it, so that it may be believed only while the invalidator is heard."""


def wanted(place: Place, load: Callable[[], Awaitable[Loaded]], policy: Policy, *, dropped: bool) -> Wanted:
    """Puts together what a read is for."""
    return Wanted(
        place=place,
        record=memory_name(place.namespace, place.key),
        depends=tuple(memory_name(*each) for each in place.depends),
        load=load,
        policy=policy,
        dropped=dropped,
    )


def memory_name(namespace: str, key: str) -> str:
    """A record's name in memory."""
    return f"{namespace}:{key}"


@dataclass(frozen=True, slots=True)
class TiersStatistics:
    """A snapshot. Counters run from the start."""

    memory: MemoryStatistics
    flights: FlightsStatistics
    store: BreakerStatistics
    hits: int
    """Answered by the cache store."""
    stale: int
    """Of those, served while being loaded anew."""
    loads: int
    failures: int
    """Loads that failed."""
    refreshes: int
    """Loads that no reader waited for."""
    spared: int
    """Answered with an old entry because the load failed."""
    alone: int
    """Loads made without a lease, since the store gave no answer or somebody else's load took too long."""
    bypassed: int
    """Entries passed over for a session that had seen newer ones."""
    overtaken: int
    """Fills that a drop had overtaken."""
    lost: int
    """Fills whose lease was over."""


@dataclass(slots=True)
class _Counts:
    hits: int = 0
    stale: int = 0
    loads: int = 0
    failures: int = 0
    refreshes: int = 0
    spared: int = 0
    alone: int = 0
    bypassed: int = 0
    overtaken: int = 0
    lost: int = 0


@dataclass(slots=True)
class _Fetch:
    """One flight's business."""

    wanted: Wanted
    needs: Vector
    unless: str = ""
    """A fill that it won't have."""
    background: bool = False
    """Whether it is a refresh, which nobody waits for."""
    spare: Entry | None = None
    """What may be served if the load fails."""
    reloads: int = RELOADS
    polls: int = 0
    asked: float = field(default=0.0)
    """When the store was last asked."""


class Tiers:
    """The cache of one process; for one event loop, not for several threads."""

    def __init__(
        self,
        store: CacheStore,
        clock: Clock,
        chance: Random,
        policy: TierPolicy | None = None,
        behind: Callable[[], bool] = lambda: False,
    ) -> None:
        """`behind` tells whether the region's replication is behind its bound: entries then count as stale."""
        self._policy = policy or TierPolicy()
        self._clock = clock
        self._chance = chance
        self._behind = behind
        self.store = GuardedStore(store, clock, self._policy.store_wait_s)
        self._memory = Memory(clock, self._policy.memory_bytes, self._policy.floor_s)
        self._flights: Flights[Entry] = Flights()
        self._room = asyncio.Semaphore(self._policy.loads)
        self._owner = f"{chance.getrandbits(64):016x}"
        self._tokens = 0
        self._loading: set[str] = set()
        """Records that this process has a lease of."""
        self._counts = _Counts()

    @property
    def policy(self) -> TierPolicy:
        return self._policy

    def peek(self, record: str, depends: Sequence[str], needs: Vector, *, dropped: bool) -> Entry | None:
        """What this process's memory has that is good enough; the arguments are as in `Wanted`."""
        entry = self._memory.get(record, depends, behind=dropped and self._behind())
        if entry is None or needs <= entry.vector:
            return entry
        self._counts.bypassed += 1
        return None

    async def fetch(self, want: Wanted, needs: Vector = NOTHING, wait_s: float | None = None) -> Entry:
        """What the region's cache store has that is good enough, or else what the loader brings.

        It has seen what `needs` covers, if the region's state has. Raises what the load raises, `LoadTimeout`, and
        `TimeoutError` when `wait_s` seconds are over; the load goes on then, for the next reader.
        """
        async with asyncio.timeout(wait_s):
            # The first flight may be another reader's, who needs less; the second began after that one.
            for name in (want.record, (want.record, "anew")):
                entry = await self._flights.join(name, lambda: self._fetch(_Fetch(want, needs)))
                if needs <= entry.vector:
                    return entry
            # The region's state has not seen it either: what now is the state's own rule, in the reader's context.
            return await self._load(want, self._local_ms())

    async def warm(self, want: Wanted, needs: Vector) -> None:
        """Fetches for the next reader, and returns when that is over; a failure is that reader's to see."""
        task = asyncio.ensure_future(self.fetch(want, needs))
        try:
            await asyncio.wait([task])
        finally:
            if not task.cancel() and not task.cancelled():
                task.exception()  # looked at, so that it is not reported as lost

    def drop(self, dropped: Dropped) -> bool:
        """Drops from this process's memory what has not seen a write. Nobody joins a flight from before it any more.

        False if that write has been told before.
        """
        record = memory_name(dropped.namespace, dropped.key)
        new = self._memory.raise_floor(record, dropped.dot)
        self._flights.forget(record)
        self._flights.forget((record, "anew"))
        return new

    def forget_all(self) -> None:
        """Drops everything from this process's memory."""
        self._memory.clear()

    async def close(self) -> None:
        """Ends what is under way."""
        await self._flights.close()

    def statistics(self) -> TiersStatistics:
        counts = self._counts
        return TiersStatistics(
            memory=self._memory.statistics(),
            flights=self._flights.statistics(),
            store=self.store.statistics(),
            hits=counts.hits,
            stale=counts.stale,
            loads=counts.loads,
            failures=counts.failures,
            refreshes=counts.refreshes,
            spared=counts.spared,
            alone=counts.alone,
            bypassed=counts.bypassed,
            overtaken=counts.overtaken,
            lost=counts.lost,
        )

    async def _fetch(self, fetch: _Fetch) -> Entry:
        want = fetch.wanted
        patience = self._clock.monotonic() + 2 * want.policy.load_s
        while self._clock.monotonic() < patience:
            self._tokens += 1
            token = f"{self._owner}:{self._tokens}"
            owner = "" if want.record in self._loading else self._owner
            fetch.asked = self._clock.monotonic()
            try:
                found = await self.store.get(
                    want.place, token, owner, math.ceil(want.policy.load_s * 1000), fetch.unless
                )
            except CacheStoreUnavailable:
                if fetch.background and fetch.spare is not None:
                    return fetch.spare
                break
            if (entry := self._look(fetch, found)) is not None:
                return entry
            if found.lease is LeaseState.GRANTED:
                entry = await self._load_leased(fetch, token, found.now_ms)
                if entry is not None:
                    return entry
            elif found.lease is LeaseState.NONE:
                continue  # there is an entry, but not one for this reader: asked again, for the lease
            elif fetch.spare is not None and (fetch.background or found.lease is LeaseState.PAUSED):
                self._counts.spared += not fetch.background
                return fetch.spare
            await self._pause(fetch)
        return await self._load_alone(fetch)

    def _look(self, fetch: _Fetch, found: Found) -> Entry | None:
        """The entry that was found, if it will do."""
        if found.entry is None:
            fetch.unless = ""
            return None
        again = bool(fetch.unless) and fetch.unless == found.fill
        fetch.unless = found.fill
        try:
            entry = decode(found.entry)
        except NotAnEntry:
            return None
        want = fetch.wanted
        if not fetch.needs <= entry.vector:
            self._counts.bypassed += not again
            return None
        trusted_ms = math.inf
        if want.dropped:
            trusted_ms = trusted_until_ms(entry, found.heard_ms, self._policy.trust_s, behind=self._behind())
        freshness = judge(entry, want.policy, found.now_ms, trusted_ms, self._chance)
        if freshness is Freshness.GONE:
            return None
        if freshness is Freshness.SPARE or (again and fetch.background):
            fetch.spare = entry
            return None
        self._keep(fetch, entry, found.now_ms, trusted_ms)
        self._counts.hits += 1
        if freshness is not Freshness.FRESH and not fetch.background:
            self._counts.stale += freshness is Freshness.STALE
            self._flights.begin(
                (want.record, "refresh"),
                lambda: self._fetch(_Fetch(want, NOTHING, found.fill, background=True, spare=entry)),
            )
        return entry

    async def _load_leased(self, fetch: _Fetch, token: str, now_ms: int) -> Entry | None:
        """Loads and fills. None if a drop overtook the value: it is to be loaded again."""
        want = fetch.wanted
        self._counts.refreshes += fetch.background
        self._loading.add(want.record)
        try:
            entry = await self._load_or_spare(fetch, now_ms, token)
            if entry is fetch.spare:
                return entry
            fill = await self._fill(want, token, entry, now_ms)
        finally:
            self._loading.discard(want.record)
        if fill is Fill.OVERTAKEN:
            self._counts.overtaken += 1
            fetch.reloads -= 1
            return entry if fetch.reloads < 0 else None
        self._counts.lost += fill is Fill.LOST
        self._keep(fetch, entry, now_ms, entry.made_ms + self._policy.trust_s * 1000)
        return entry

    async def _load_alone(self, fetch: _Fetch) -> Entry:
        """The store gives no answer: what is loaded stays in this process."""
        self._counts.alone += 1
        fetch.asked = self._clock.monotonic()
        now_ms = self._local_ms()
        entry = await self._load_or_spare(fetch, now_ms)
        if entry is not fetch.spare:
            self._keep(fetch, entry, now_ms, entry.made_ms + self._policy.trust_s * 1000)
        return entry

    async def _load_or_spare(self, fetch: _Fetch, now_ms: int, token: str | None = None) -> Entry:
        """What the loader brings; if it fails, the lease is given back, and the spare entry served if there is one."""
        want = fetch.wanted
        loaded = False
        try:
            entry = await self._load(want, now_ms)
            loaded = True
        except Exception:  # whatever its author's loader raises
            spare = fetch.spare or self._memory.spare(want.record, want.depends)
            if spare is None or not fetch.needs <= spare.vector:
                raise
            self._counts.spared += not fetch.background
            fetch.spare = spare
            return spare
        finally:
            if token is not None and not loaded:
                await self._release(want, token)
        return entry

    async def _fill(self, want: Wanted, token: str, entry: Entry, now_ms: int) -> Fill:
        keep_ms = max(1, entry.hard_ms - now_ms)
        try:
            return await self.store.fill(want.place, token, entry.vector, encode(entry), keep_ms)
        except CacheStoreUnavailable:
            return Fill.LOST

    async def _load(self, want: Wanted, now_ms: int) -> Entry:
        """Runs the loader; `now_ms` is the time, on the clock that the entry's times are to be of."""
        policy = want.policy
        async with self._room:
            began = self._clock.monotonic()
            self._counts.loads += 1
            done = False
            limit = asyncio.timeout(policy.load_s)
            try:
                async with limit:
                    loaded = await want.load()
                done = True
            except TimeoutError as error:
                if not limit.expired():
                    raise
                raise LoadTimeout(
                    f"loading {want.record} took longer than {policy.load_s:g} s; the source is slow, or the cache's "
                    "load_s is too short for it"
                ) from error
            finally:
                self._counts.failures += not done
            delta_ms = (self._clock.monotonic() - began) * 1000
        fresh_s = policy.negative_s if loaded.value is None else policy.ttl_s
        keep_s = policy.negative_s if loaded.value is None else policy.keep_s
        if loaded.left_s is not None:
            fresh_s, keep_s = min(fresh_s, loaded.left_s), min(keep_s, loaded.left_s)
        return Entry(
            value=loaded.value,
            made_ms=now_ms,
            soft_ms=now_ms + int(fresh_s * 1000),
            hard_ms=now_ms + int(keep_s * 1000),
            delta_ms=delta_ms,
            dot=loaded.dot,
            vector=loaded.vector,
        )

    def _keep(self, fetch: _Fetch, entry: Entry, now_ms: int, trusted_ms: float) -> None:
        """Puts an entry in memory. `now_ms` was the time on the entry's clock at `fetch.asked`, or later."""
        policy = self._policy
        sure_ms = entry.made_ms + policy.trust_s * 1000 if fetch.wanted.dropped else math.inf
        error_s = 0.0 if entry.negative else fetch.wanted.policy.error_s
        spare_s = (min(entry.soft_ms + error_s * 1000, entry.hard_ms) - now_ms) / 1000 if error_s else 0.0
        use_ms = min(policy.memory_s * 1000, entry.soft_ms - now_ms, trusted_ms - now_ms)
        self._memory.put(
            fetch.wanted.record,
            entry,
            until=fetch.asked + use_ms / 1000,
            sure=fetch.asked + min(use_ms, sure_ms - now_ms) / 1000,
            gone=fetch.asked + spare_s,
            depends=fetch.wanted.depends,
        )

    async def _release(self, want: Wanted, token: str) -> None:
        try:
            await self.store.release(want.place, token, math.ceil(want.policy.pause_s * 1000))
        except CacheStoreUnavailable:
            return  # the lease ends by itself

    async def _pause(self, fetch: _Fetch) -> None:
        most_s = min(self._policy.poll_most_s, self._policy.poll_s * 2**fetch.polls)
        fetch.polls = min(fetch.polls + 1, 16)
        await asyncio.sleep(most_s * (0.5 + 0.5 * self._chance.random()))

    def _local_ms(self) -> int:
        return int(self._clock.wall() * 1000)
