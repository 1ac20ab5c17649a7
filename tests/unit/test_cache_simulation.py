"""A region under faults, and a checker that reads again after every write (as Meta's Polaris does: "Cache made
consistent", 2022): an answer is never older than what the region's state had a second before the read began."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

import pytest
from tests.unit.cache_region import Line, Lossy, NoFloors, State

from atoll.cache import Caches, Dropped, Invalidations, Policy, TierPolicy, Tiers, Write, over
from atoll.cache.guard import GuardedStore
from atoll.cache.model import ModelCacheStore
from atoll.clock import Clock
from atoll.simulate.loop import VirtualLoop, run
from atoll.state.vector import Dot

KEYS = [f"k{number}" for number in range(6)]
PEERS = ("east.1700000001", "west.1700000002")
RUN_S = 12.0
ALLOWED_S = 1.0 + 0.002  # a second, and the rounding of milliseconds


@dataclass(slots=True)
class Verdict:
    reads: int = 0
    old: list[str] = field(default_factory=list)
    worst_s: float = 0.0
    loads: int = 0
    near: int = 0
    """Answers from memory."""
    hits: int = 0
    """From the cache store."""
    faults: int = 0


@dataclass(slots=True)
class Simulation:
    seed: int
    loop: VirtualLoop
    store_type: Callable[[Clock], ModelCacheStore] = ModelCacheStore
    policy: TierPolicy = field(default_factory=TierPolicy)
    verdict: Verdict = field(default_factory=Verdict)

    async def main(self) -> Verdict:
        chance = Random(self.seed)
        clock = self.loop.clock
        store = self.store_type(clock)
        state = State(clock, chance, load_s=chance.choice([0.002, 0.02, 0.1]))
        thawed = asyncio.Event()
        thawed.set()

        def line() -> Line:
            made = Line(store, chance)
            made.thawed = thawed
            return made

        reading = Policy(
            ttl_s=chance.choice([0.5, 5, 60]),
            stale_s=chance.choice([0, 30]),
            error_s=0,
            write=chance.choice(list(Write)),
        )
        processes = []
        for _ in range(3):
            way = line()
            caches = Caches(Tiers(way, clock, chance, self.policy))
            processes.append((way, caches))
        agent_way = line()
        lines = [*(way for way, _ in processes), agent_way]
        tasks = [asyncio.create_task(self._agent(chance, clock, agent_way, state))]
        tasks.append(asyncio.create_task(self._faults(chance, store, lines, thawed)))
        for _, caches in processes:
            cached = over(state, reading, caches=partial(_given, caches))
            tasks.append(asyncio.create_task(self._write(chance, state, caches, cached.put)))
            tasks.extend(asyncio.create_task(self._read(chance, clock, state, cached.get)) for _ in range(3))
        try:
            async with asyncio.timeout(RUN_S):
                await asyncio.gather(*tasks)
        except TimeoutError:
            pass
        for _, caches in processes:
            self.verdict.near += caches.statistics().tiers.memory.hits
            self.verdict.hits += caches.statistics().tiers.hits
            await caches.close()
        self.verdict.loads = state.loads
        return self.verdict

    async def _read(
        self, chance: Random, clock: Clock, state: State, get: Callable[[str], Awaitable[bytes | None]]
    ) -> None:
        while True:
            await asyncio.sleep(0.05 * chance.random())
            key = chance.choice(KEYS)
            began = clock.monotonic()
            value = await get(key)
            version = 0 if value is None else int(value)
            self.verdict.reads += 1
            newer = [at for at, other, _ in state.history.get(key, ()) if other > version]
            if newer:
                self.verdict.worst_s = max(self.verdict.worst_s, began - newer[0])
            if version < state.version_at(key, began - ALLOWED_S):
                self.verdict.old.append(
                    f"{key} at {began:.3f} s: read {version}, {began - newer[0]:.3f} s old"
                )

    async def _write(
        self, chance: Random, state: State, caches: Caches, put: Callable[[str, bytes], Awaitable[Dot]]
    ) -> None:
        while True:
            await asyncio.sleep(0.6 * chance.random())
            key = chance.choice(KEYS)
            if chance.random() < 0.3:
                state.write(key)  # and dies before it can drop anything
            else:
                await put(key, b"")

    async def _agent(self, chance: Random, clock: Clock, way: Line, state: State) -> None:
        """Runs for a while, is killed wherever it stands, and comes back."""
        backlog: list[Dropped] = []
        while True:
            guarded = GuardedStore(way, clock, self.policy.store_wait_s)
            invalidations = Invalidations(guarded, clock, self.policy.floor_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(chance.choice([0.5, 3, 30])):
                    await asyncio.gather(
                        invalidations.follow(state, lambda: [state.name]),
                        self._apply(chance, state, invalidations, backlog),
                    )
            self.verdict.faults += 1
            await asyncio.sleep(chance.choice([0.01, 0.5, 3]))

    async def _apply(
        self, chance: Random, state: State, invalidations: Invalidations, backlog: list[Dropped]
    ) -> None:
        while True:
            await asyncio.sleep(0.3 * chance.random())
            actor = chance.choice(PEERS)
            begin = state.vector.seq(actor)
            batch = [
                Dropped(state.name, chance.choice(KEYS), Dot(actor, begin + number))
                for number in range(1, chance.choice([2, 4]))
            ]
            async with invalidations.applying(batch):
                await asyncio.sleep(chance.choice([0, 0.001, 0.2]))
                for each in batch:
                    state.apply(each.key, each.dot)

    async def _faults(
        self, chance: Random, store: ModelCacheStore, lines: list[Line], thawed: asyncio.Event
    ) -> None:
        while True:
            await asyncio.sleep(chance.random())
            self.verdict.faults += 1
            fault = chance.choice(["evict", "evict", "lose", "freeze", "refuse"])
            if fault == "evict":
                for record in store.records:
                    if chance.random() < 0.5:
                        store.evict(*record)
            elif fault == "lose":
                store.lose()
            elif fault == "freeze":
                thawed.clear()
                await asyncio.sleep(chance.choice([0.03, 0.3, 2.5]))
                thawed.set()
            else:
                cut = chance.sample(lines, chance.randint(1, len(lines)))
                for way in cut:
                    way.refused = True
                await asyncio.sleep(chance.choice([0.1, 2.5]))
                for way in cut:
                    way.refused = False


def _given(caches: Caches) -> Caches:
    return caches


def simulate(seed: int, **changes: object) -> Verdict:
    loop = VirtualLoop()
    return run(loop, Simulation(seed, loop, **changes).main())  # type: ignore[arg-type]


@pytest.mark.parametrize("part", range(4))
def test_no_answer_is_older_than_a_second_whatever_fails(part: int) -> None:
    reads = near = hits = loads = 0
    for seed in range(part * 5, part * 5 + 5):
        verdict = simulate(seed)
        assert not verdict.old, f"seed {seed}: {verdict.old[:5]}"
        assert verdict.faults
        reads, near = reads + verdict.reads, near + verdict.near
        hits, loads = hits + verdict.hits, loads + verdict.loads
    print(f"{reads} reads: {near} from memory, {hits} from the store, {loads} loads")
    assert near > reads / 3, "a cache that never answers is never wrong"
    assert hits > loads / 10, "and so is a cache store that nobody believes"


@pytest.mark.parametrize(
    ("first", "changes"),
    [
        pytest.param(20, {"store_type": NoFloors}, id="fills-without-floors"),
        pytest.param(3, {"store_type": Lossy}, id="drops-that-get-lost"),
        pytest.param(0, {"policy": replace(TierPolicy(), trust_s=1e9)}, id="trust-without-end"),
        pytest.param(0, {"policy": replace(TierPolicy(), memory_s=3, trust_s=3)}, id="memory-for-longer"),
    ],
)
def test_control_a_cache_without_the_mechanism_is_caught(first: int, changes: dict[str, object]) -> None:
    # Some mechanisms are missed in few runs only: the search begins where one is known to be.
    assert any(simulate(seed, **changes).old for seed in range(first, first + 60))
