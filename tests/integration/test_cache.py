"""The cache on a real Valkey: its functions are the model's, one load for all, and what its loss costs."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.integration.ports import free_port
from tests.integration.stores import PASSWORD, Store

from atoll.cache import (
    Cached,
    Caches,
    Dropped,
    Invalidations,
    Loaded,
    Policy,
    TierPolicy,
    Tiers,
    ValkeyCacheStore,
    aside,
    of,
    over,
)
from atoll.cache.entry import Entry, encode
from atoll.cache.model import ModelCacheStore
from atoll.cache.store import CacheStore, Fill, Found, LeaseState, Place
from atoll.cell.valkey import StoreKind, Valkey
from atoll.clock import SystemClock
from atoll.state.vector import NOTHING, Dot, Vector
from atoll.topology.wiring import Address, StoreAccess

pytestmark = pytest.mark.timeout(240)

ACTOR = "here.1700000000"
CLOCK = SystemClock()
HOUR_MS = 3_600_000


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Store]:
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    address = Address("127.0.0.1", free_port())
    valkey = Valkey(StoreKind.CACHE, address, tmp_path)
    valkey.write_config(PASSWORD)
    store = Store(valkey, StoreAccess(None, address, password))
    await store.start()
    try:
        yield store
    finally:
        await store.kill()


@pytest.fixture
async def store(server: Store) -> AsyncIterator[ValkeyCacheStore]:
    opened = ValkeyCacheStore(server.client())
    yield opened
    await opened.close()


@dataclass(slots=True)
class Numbers:
    """A source in this process: a number a key, and how often it was read."""

    name: str = "numbers"
    values: dict[str, int] = field(default_factory=dict)
    vector: Vector = NOTHING
    loads: int = 0
    load_s: float = 0.0
    fails: bool = False

    async def load(self, key: str) -> Loaded:
        self.loads += 1
        vector, value = self.vector, self.values.get(key)
        await asyncio.sleep(self.load_s)
        if self.fails:
            raise ConnectionError("the state is away")
        return Loaded(None if value is None else b"%d" % value, None, vector)

    async def store(self, key: str, value: bytes | None) -> Dot:
        dot = Dot(ACTOR, self.vector.seq(ACTOR) + 1)
        if value is None:
            self.values.pop(key, None)
        else:
            self.values[key] = int(value)
        self.vector = self.vector.raised(*dot)
        return dot


def reader(store: CacheStore, source: Numbers, policy: Policy, **tiers: Any) -> tuple[Caches, Cached[bytes]]:
    caches = Caches(Tiers(store, CLOCK, Random(), TierPolicy(**{"store_wait_s": 2.0} | tiers)))
    return caches, over(source, policy, caches=lambda: caches)


# --- the functions


SEQS = ("p.1700000000", "q.1700000001")
PLACES = (
    Place("a", "x"),
    Place("a", "y", (("a", "x"),)),
    Place("b", "x", (("a", "x"), ("a", "y"))),
    Place("b", "z"),
)


@dataclass(slots=True)
class Orders:
    """Orders by chance, such as go together: the same for every store that they are given to."""

    chance: Random
    number: int = 0
    tokens: list[str] = field(default_factory=lambda: [""])
    fills: list[str] = field(default_factory=lambda: [""])
    seqs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SEQS, 0))

    def next(self) -> tuple[str, Callable[[CacheStore], Awaitable[Any]]]:
        """What it is, and the order itself."""
        chance = self.chance
        self.number += 1
        place, token = chance.choice(PLACES), chance.choice(self.tokens[-3:])
        match chance.choice(["get"] * 6 + ["fill"] * 6 + ["drop"] * 2 + ["release"] * 2 + ["flush"]):
            case "get":
                owner, unless = chance.choice(["", "p1", "p2"]), chance.choice([*self.fills[-3:], ""])
                token = f"{chance.choice(['p1', 'p2', 'p3'])}:{self.number}"
                self.tokens.append(token)
                return f"get {place} {token}", lambda store: store.get(place, token, owner, HOUR_MS, unless)
            case "fill":
                known = Vector(
                    {actor: chance.randint(max(0, seq - 3), seq) for actor, seq in self.seqs.items()}
                )
                content = b"e%d" % self.number
                self.fills.append(token)
                return f"fill {place} {token}", lambda store: store.fill(
                    place, token, known, content, HOUR_MS
                )
            case "drop":
                dropped = [self._drop() for _ in range(chance.randint(1, 3))]
                return f"drop {dropped}", lambda store: store.drop(dropped, HOUR_MS)
            case "release":
                pause_ms = chance.choice([0, HOUR_MS])
                return f"release {place} {token}", lambda store: store.release(place, token, pause_ms)
            case _:
                names = chance.choice([[], ["a"], ["a", "b"]])
                return f"flush {names}", lambda store: store.flush(names)

    def _drop(self) -> Dropped:
        actor, place = self.chance.choice(SEQS), self.chance.choice(PLACES)
        self.seqs[actor] += 1
        late = self.chance.choice([0, 0, 1, 2])
        return Dropped(place.namespace, place.key, Dot(actor, max(1, self.seqs[actor] - late)))


def timeless(answer: Any) -> Any:
    return replace(answer, now_ms=0) if isinstance(answer, Found) else answer


async def test_the_functions_answer_as_the_model_does(server: Store, store: ValkeyCacheStore) -> None:
    seen: set[Any] = set()
    async with server.client() as client:
        for seed in range(40):
            orders, model = Orders(Random(seed)), ModelCacheStore(CLOCK)
            for _ in range(60):
                what, order = orders.next()
                real, ideal = timeless(await order(store)), timeless(await order(model))
                assert real == ideal, f"seed {seed}, step {orders.number}: {what}"
                seen.add(real.lease if isinstance(real, Found) else real)
            await client.flushdb()
    assert seen == {*LeaseState, *Fill, None}


async def test_leases_floors_and_pauses_end_with_time(store: ValkeyCacheStore) -> None:
    place = Place("a", "x")
    assert (await store.get(place, "p1:1", "p1", 50)).lease is LeaseState.GRANTED
    assert (await store.get(place, "p2:1", "p2", 50)).lease is LeaseState.HELD
    await asyncio.sleep(0.08)
    assert await store.fill(place, "p1:1", NOTHING, b"e", HOUR_MS) is Fill.LOST
    assert (await store.get(place, "p2:2", "p2", HOUR_MS)).lease is LeaseState.GRANTED
    await store.release(place, "p2:2", 50)
    assert (await store.get(place, "p2:3", "p2", HOUR_MS)).lease is LeaseState.PAUSED
    await asyncio.sleep(0.08)
    assert (await store.get(place, "p2:4", "p2", HOUR_MS)).lease is LeaseState.GRANTED
    await store.drop([Dropped("a", "x", Dot(ACTOR, 1))], 50)
    assert await store.fill(place, "p2:4", NOTHING, b"e", HOUR_MS) is Fill.OVERTAKEN
    await asyncio.sleep(0.08)
    assert (await store.get(place, "p2:5", "p2", HOUR_MS)).lease is LeaseState.GRANTED
    assert await store.fill(place, "p2:5", NOTHING, b"e", 50) is Fill.TAKEN
    await asyncio.sleep(0.08)
    assert (await store.get(place, "p2:6", "p2", HOUR_MS)).entry is None


async def test_a_pulse_never_takes_back_and_never_runs_ahead(store: ValkeyCacheStore) -> None:
    place = Place("a", "x")
    now_ms = await store.pulse(0)
    assert abs(now_ms - CLOCK.wall() * 1000) < 5_000
    await store.pulse(now_ms - 100)
    await store.pulse(now_ms - 5_000)
    assert (await store.get(place, "p:1", "p", 50)).heard_ms == now_ms - 100
    later_ms = await store.pulse(now_ms + HOUR_MS)
    assert (await store.get(place, "p:1", "p", 50)).heard_ms == later_ms


# --- one load for all


async def test_a_thousand_readers_in_four_processes_make_one_load(
    server: Store, store: ValkeyCacheStore, tmp_path: Path
) -> None:
    loads = tmp_path / "loads"
    assert server.access.address is not None
    arguments = [str(server.access.address.port), str(server.access.password_file), "250", str(loads), "k"]
    # An entry that has run out, and not so long ago that it is gone.
    place, now_ms = Place("~herd", "k"), int(CLOCK.wall() * 1000)
    old = Entry(b"old", now_ms - 90_000, now_ms - 60_000, now_ms + 60_000, 1.0, None, NOTHING)
    await store.get(place, "p:1", "p", 1_000)
    assert await store.fill(place, "p:1", NOTHING, encode(old), 60_000) is Fill.TAKEN
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.cache_reader",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(4)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert [out for out, _ in answers] == [b"250\n"] * 4
    assert len(loads.read_text().split()) == 1


async def test_a_fill_that_a_drop_overtook_is_rejected(store: ValkeyCacheStore) -> None:
    source = Numbers(values={"k": 1}, load_s=0.2)
    caches, cached = reader(store, source, Policy(early=0))
    waiting = asyncio.create_task(cached.get("k"))
    while not source.loads:
        await asyncio.sleep(0.01)
    dot = await source.store("k", b"2")  # elsewhere, while the old value is on its way
    assert await Invalidations(store, CLOCK).drop([Dropped("numbers", "k", dot)])
    assert await waiting == b"2"
    assert caches.statistics().tiers.overtaken == 1
    other, again = reader(store, source, Policy(early=0))
    assert await again.get("k") == b"2"
    assert other.statistics().tiers.hits == 1
    assert source.loads == 2


async def test_a_writer_that_dies_before_its_drop_leaves_nothing_stale(store: ValkeyCacheStore) -> None:
    source = Numbers(values={"k": 1})
    _, cached = reader(store, source, Policy(early=0))
    assert await cached.get("k") == b"1"
    await source.store("k", b"2")  # and dies
    # No agent is there to read the log, so nobody gives the pulse: the entry is believed for a second.
    async with asyncio.timeout(60):
        while await cached.get("k") != b"2":
            await asyncio.sleep(0.05)


# --- loss


async def answers_go_on(
    cached: Cached[bytes], source: Numbers, break_it: Callable[[], Awaitable[None]]
) -> None:
    """Readers of twenty keys for three seconds, with the store lost after half a second."""
    loop = asyncio.get_running_loop()
    began, wrong = loop.time(), 0
    answered: list[float] = []

    async def read(key: str) -> None:
        nonlocal wrong
        while loop.time() < began + 3:
            asked = loop.time()
            wrong += await cached.get(key) != b"1"
            answered.append(loop.time() - asked)
            await asyncio.sleep(0.01)

    readers = [asyncio.create_task(read(f"k{number % 20}")) for number in range(100)]
    await asyncio.sleep(0.5)
    before = source.loads
    await break_it()
    await asyncio.gather(*readers)
    assert not wrong
    assert len(answered) > 1_000
    answered.sort()
    print(
        f"{len(answered)} reads, {source.loads - before} loads after the loss, slowest {answered[-1] * 1000:.0f} ms"
    )
    # Each of twenty keys at most once a second, and one more each for the moment of the loss.
    assert source.loads - before <= 20 * 5


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_without_its_store_answers_go_on_and_the_source_sees_no_herd(server: Store, how: str) -> None:
    store = ValkeyCacheStore(server.client())
    source = Numbers(values={f"k{number}": 1 for number in range(20)}, load_s=0.02)
    caches, cached = reader(store, source, Policy(early=0), store_wait_s=0.05)

    async def break_it() -> None:
        if how == "killed":
            await server.kill()
        else:
            server.freeze()

    try:
        await answers_go_on(cached, source, break_it)
    finally:
        if how == "frozen":
            server.thaw()
        await caches.close()
    if how == "killed":
        await server.start()
    alone = caches.statistics().tiers.alone
    assert alone
    # It is used again: what another process filled is found.
    other, filler = reader(store, source, Policy(early=0))
    await filler.get("k0")
    before = source.loads
    async with asyncio.timeout(60):
        hits = caches.statistics().tiers.hits
        while caches.statistics().tiers.hits == hits:
            await Invalidations(store, CLOCK).pulse(CLOCK.monotonic())
            await filler.get("k0")
            await cached.get("k0")
            await asyncio.sleep(0.05)
    print(f"{alone} loads alone, {source.loads - before} to come back")
    await other.close()
    await caches.close()
    await store.close()


async def test_entries_that_can_not_be_loaded_anew_and_those_of_nothing(store: ValkeyCacheStore) -> None:
    source = Numbers(values={"k": 1})
    caches, cached = reader(store, source, aside(ttl_s=0.1, stale_s=0, negative_s=0.2, error_s=60, early=0))
    assert await cached.get("k") == b"1"
    assert await cached.get("none") is None
    assert await cached.get("none") is None
    assert source.loads == 2
    await asyncio.sleep(0.3)
    source.fails = True
    assert await cached.get("k") == b"1"
    assert caches.statistics().tiers.spared == 1
    with pytest.raises(ConnectionError):
        await cached.get("none")


async def test_a_session_passes_by_the_entry_that_is_older(store: ValkeyCacheStore) -> None:
    class Session:
        vector = NOTHING

        async def needs(self, *namespaces: str) -> Vector:
            return self.vector

        def saw(self, namespace: str, dot: Dot) -> None: ...

    source, session = Numbers(values={"k": 1}), Session()
    _, plain = reader(store, source, Policy(early=0))
    caches = Caches(Tiers(store, CLOCK, Random(), TierPolicy(store_wait_s=2.0)), session)
    cached = over(source, Policy(early=0), caches=lambda: caches)
    assert await plain.get("k") == b"1"
    dot = await source.store("k", b"2")  # its writer dies before the drop
    session.vector = Vector.of([dot])
    assert await cached.get("k") == b"2"
    assert caches.statistics().tiers.bypassed == 1
    assert source.loads == 2


async def test_a_store_that_is_full_evicts_records_as_a_whole(server: Store, store: ValkeyCacheStore) -> None:
    async with server.client() as client:
        await client.config_set("maxmemory", "3mb")
        for number in range(400):
            place = Place("a", f"{number}")
            await store.drop([Dropped("a", f"{number}", Dot(ACTOR, 5))], HOUR_MS)
            await store.get(place, f"p:{number}", "p", HOUR_MS)
            known = Vector({ACTOR: 5})
            assert await store.fill(place, f"p:{number}", known, b"x" * 20_000, HOUR_MS) in (
                Fill.TAKEN,
                Fill.LOST,
            )
        kept = [key async for key in client.scan_iter("c:*")]
        assert len(kept) < 400
        for key in kept[:50]:
            fields = set(await client.hkeys(key))
            assert b"e" not in fields or b"f" in fields


async def test_a_value_computed_from_the_state_is_dropped_with_it(store: ValkeyCacheStore) -> None:
    source = Numbers(values={"k": 1})
    caches, numbers = reader(store, source, Policy(early=0))

    async def position() -> Vector:
        return source.vector

    caches.position = position

    async def double(key: str) -> bytes:
        return b"%d" % (2 * source.values[key])

    doubles = of(
        "doubles", double, Policy(early=0), depends=lambda k: [("numbers", k)], caches=lambda: caches
    )
    assert await doubles.get("k") == b"2"
    await numbers.put("k", b"21")
    assert await doubles.get("k") == b"42"
