"""The cache's cores: entries, freshness, flights, memory."""

import asyncio
import contextlib
import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from atoll.cache.entry import Entry, NotAnEntry, decode, encode
from atoll.cache.flights import Flights
from atoll.cache.freshness import Freshness, early_ms, judge, trusted_until_ms
from atoll.cache.memory import FLOORS, Memory
from atoll.cache.policy import Policy, Write, aside, refresh_ahead, write_through
from atoll.clock import ManualClock
from atoll.simulate.loop import VirtualLoop, run
from atoll.state.vector import NOTHING, Dot, Vector

ACTORS = st.sampled_from(["a.1700000000", "b.1700000000", "b.1700000001"])
VECTORS = st.dictionaries(ACTORS, st.integers(1, 2**53 - 1)).map(Vector)
TIMES = st.integers(0, 2**45)
ENTRIES = st.builds(
    Entry,
    value=st.none() | st.binary(max_size=100),
    made_ms=TIMES,
    soft_ms=TIMES,
    hard_ms=TIMES,
    delta_ms=st.floats(0, 1e6),
    dot=st.none() | st.builds(Dot, ACTORS, st.integers(1, 2**53 - 1)),
    vector=VECTORS,
)


def entry(
    value: bytes | None = b"v",
    *,
    made_ms: int = 0,
    soft_ms: int = 10_000,
    delta_ms: float = 0.0,
    seq: int = 0,
) -> Entry:
    return Entry(value, made_ms, soft_ms, soft_ms + 600_000, delta_ms, None, Vector({"a.1700000000": seq}))


# --- entries


@given(ENTRIES)
def test_an_entry_comes_back_from_its_bytes(made: Entry) -> None:
    assert decode(encode(made)) == made


@given(st.binary(max_size=60))
def test_what_is_no_entry_is_told_and_nothing_else_happens(content: bytes) -> None:
    with contextlib.suppress(NotAnEntry):
        decode(content)


def test_another_version_of_the_format_is_no_entry() -> None:
    with pytest.raises(NotAnEntry, match="version 2"):
        decode(b"\x02" + encode(entry())[1:])


# --- policy


def test_the_usual_ways_are_one_line_each() -> None:
    assert aside(ttl_s=5).write is Write.DROP
    assert write_through(ttl_s=5, stale_s=0).write is Write.LOAD
    assert refresh_ahead(ttl_s=5, ahead=0.5).ahead == 0.5


@pytest.mark.parametrize("wrong", [{"ttl_s": 0}, {"error_s": -1}, {"ahead": 0}, {"ahead": 1.5}])
def test_settings_without_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        aside(**wrong)


# --- freshness


@pytest.mark.parametrize(
    ("now_ms", "expected"),
    [
        (0, Freshness.FRESH),
        (9_999, Freshness.FRESH),
        (10_000, Freshness.STALE),
        (39_999, Freshness.STALE),
        (40_000, Freshness.SPARE),
        (609_999, Freshness.SPARE),
        (610_000, Freshness.GONE),
    ],
)
def test_an_entry_goes_from_fresh_to_gone(now_ms: int, expected: Freshness) -> None:
    assert judge(entry(), Policy(ttl_s=10), now_ms, math.inf, Random(1)) is expected


def test_a_negative_entry_is_never_served_stale_nor_as_a_spare() -> None:
    none = entry(None)
    assert judge(none, Policy(), 9_999, math.inf, Random(1)) is Freshness.FRESH
    assert judge(none, Policy(), 10_000, math.inf, Random(1)) is Freshness.GONE
    assert judge(none, Policy(), 5_000, 4_000, Random(1)) is Freshness.GONE


def test_beyond_trust_an_entry_is_for_need_alone() -> None:
    assert judge(entry(), Policy(), 5_000, 5_000, Random(1)) is Freshness.SPARE
    assert judge(entry(), Policy(error_s=0), 5_000, 5_000, Random(1)) is Freshness.GONE


def test_an_entry_is_believed_after_its_making_and_after_the_invalidators_word() -> None:
    made = entry(made_ms=1_000)
    assert trusted_until_ms(made, None, 1.0, behind=False) == 2_000
    assert trusted_until_ms(made, 5_000, 1.0, behind=False) == 6_000
    assert trusted_until_ms(made, 5_000, 1.0, behind=True) == 2_000


def test_refresh_ahead_begins_at_its_share() -> None:
    policy = refresh_ahead(ttl_s=10, ahead=0.8, early=0)
    assert judge(entry(), policy, 7_999, math.inf, Random(1)) is Freshness.FRESH
    assert judge(entry(), policy, 8_000, math.inf, Random(1)) is Freshness.EARLY


@pytest.mark.parametrize(
    ("beta", "delta_ms", "left_ms"), [(1, 100, 50), (1, 100, 200), (2, 100, 200), (0.5, 40, 60)]
)
def test_early_refresh_has_the_papers_probability(beta: float, delta_ms: float, left_ms: float) -> None:
    chance = Random(7)
    draws = 40_000
    early = sum(early_ms(delta_ms, beta, chance) >= left_ms for _ in range(draws)) / draws
    expected = math.exp(-left_ms / (beta * delta_ms))
    assert abs(early - expected) < 5 * math.sqrt(expected / draws)


def test_early_refresh_can_be_turned_off() -> None:
    assert all(early_ms(100, 0, Random(seed)) < 0 for seed in range(100))


# --- flights


class Boom(Exception):
    pass


def test_one_flight_serves_all_who_come_meanwhile() -> None:
    begun = 0

    async def fetch() -> int:
        nonlocal begun
        begun += 1
        await asyncio.sleep(1)
        return begun

    async def main() -> None:
        flights: Flights[int] = Flights()
        assert await asyncio.gather(*(flights.join("k", fetch) for _ in range(50))) == [1] * 50
        assert await flights.join("k", fetch) == 2
        assert flights.statistics().joined == 49

    run(VirtualLoop(), main())


def test_a_failure_is_told_to_those_who_waited_once() -> None:
    async def fail() -> int:
        await asyncio.sleep(1)
        raise Boom

    async def succeed() -> int:
        return 1

    async def main() -> None:
        flights: Flights[int] = Flights()
        told = await asyncio.gather(*(flights.join("k", fail) for _ in range(5)), return_exceptions=True)
        assert [type(each) for each in told] == [Boom] * 5
        assert await flights.join("k", succeed) == 1

    run(VirtualLoop(), main())


def test_readers_who_leave_take_nothing_with_them() -> None:
    done = asyncio.Event()

    async def fetch() -> int:
        await asyncio.sleep(1)
        done.set()
        return 7

    async def main() -> None:
        flights: Flights[int] = Flights()
        chance = Random(3)

        async def reader(wait_s: float) -> int | None:
            try:
                async with asyncio.timeout(wait_s):
                    return await flights.join("k", fetch)
            except TimeoutError:
                return None

        waits = [chance.choice([0.1, 0.5, 2]) for _ in range(30)]
        assert await asyncio.gather(*map(reader, waits)) == [7 if wait_s > 1 else None for wait_s in waits]
        done.clear()
        assert await asyncio.gather(*(reader(0.1) for _ in range(3))) == [None] * 3
        await asyncio.wait_for(done.wait(), 5)  # the load goes on though nobody waits
        assert flights.statistics().begun == 2

    run(VirtualLoop(), main())


def test_nobody_joins_a_forgotten_flight() -> None:
    async def main() -> None:
        flights: Flights[str] = Flights()

        async def fetch(name: str) -> str:
            await asyncio.sleep(1)
            return name

        old = asyncio.create_task(flights.join("k", lambda: fetch("old")))
        await asyncio.sleep(0.5)
        flights.forget("k")
        new = asyncio.create_task(flights.join("k", lambda: fetch("new")))
        assert await asyncio.gather(old, new) == ["old", "new"]
        assert flights.statistics().under_way == 0

    run(VirtualLoop(), main())


# --- memory


def held(memory: Memory, key: str, made: Entry, for_s: float = 1.0) -> bool:
    return memory.put(key, made, until=for_s, sure=for_s, gone=600.0)


def test_memory_answers_for_its_time_and_in_need_for_longer() -> None:
    clock = ManualClock()
    memory = Memory(clock, 10_000, 60)
    assert held(memory, "k", entry())
    assert memory.get("k") is not None
    clock.advance(1)
    assert memory.get("k") is None
    assert memory.spare("k") is not None
    clock.advance(599)
    assert memory.spare("k") is None


def test_while_behind_only_what_is_sure_is_answered() -> None:
    clock = ManualClock(now=0.5)
    memory = Memory(clock, 10_000, 60)
    memory.put("k", entry(), until=1.0, sure=0.4, gone=1.0)
    assert memory.get("k", behind=True) is None
    assert memory.get("k") is not None


def test_memory_is_bounded_by_bytes_and_drops_what_was_used_longest_ago() -> None:
    memory = Memory(ManualClock(), 10_000, 60)
    for number in range(100):
        held(memory, f"k{number}", entry(b"x" * 1_000))
        assert memory.get("k0") is not None
        assert memory.statistics().bytes <= 10_000
    assert memory.get("k1") is None
    held(memory, "huge", entry(b"x" * 20_000))
    assert memory.get("huge") is None
    assert memory.get("k0") is not None


def test_a_floor_beats_the_entry_that_is_on_its_way() -> None:
    memory = Memory(ManualClock(), 10_000, 60)
    memory.raise_floor("k", Dot("a.1700000000", 5))
    assert not held(memory, "k", entry(seq=4))
    assert held(memory, "k", entry(seq=5))


def test_a_floor_counts_for_what_depends_on_its_record() -> None:
    memory = Memory(ManualClock(), 10_000, 60)
    held(memory, "page", entry(seq=4))
    assert memory.get("page", ("price",)) is not None
    memory.raise_floor("price", Dot("a.1700000000", 5))
    assert memory.get("page", ("price",)) is None


def test_many_floors_become_one_that_is_stricter() -> None:
    memory = Memory(ManualClock(), 10_000, 60)
    memory.raise_floor("first", Dot("a.1700000000", 5))
    for number in range(FLOORS):
        memory.raise_floor(f"k{number}", Dot("b.1700000000", 1))
    assert memory.statistics().floors == FLOORS
    assert not held(memory, "first", entry(seq=4))
    assert not held(memory, "another", entry(seq=4))
    assert held(memory, "another", entry(seq=5))


KEYS = st.sampled_from(["k", "l", "m"])


class MemoryMachine(RuleBasedStateMachine):
    """Loads that begin, are overtaken, and land in any order: no answer is below its floor."""

    floored = True

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.memory = Memory(self.clock, 3_000, 60)
        self.state = Vector()
        self.floors: dict[str, Vector] = {}
        self.loads: list[tuple[str, Entry]] = []

    @rule(key=KEYS)
    def begin(self, key: str) -> None:
        self.loads.append((key, Entry(b"", 0, 10**9, 10**9, 0, None, self.state)))

    @precondition(lambda self: self.loads)
    @rule(data=st.data())
    def land(self, data: st.DataObject) -> None:
        key, made = self.loads.pop(data.draw(st.integers(0, len(self.loads) - 1)))
        now = self.clock.monotonic()
        self.memory.put(key, made, until=now + 1, sure=now + 1, gone=now + 9)

    @rule(key=KEYS, actor=ACTORS, first=st.booleans())
    def write(self, key: str, actor: str, first: bool) -> None:
        dot = Dot(actor, self.state.seq(actor) + 1)
        if not first:  # own writes: state, then floor
            self.state = self.state.raised(*dot)
        if self.floored:
            self.memory.raise_floor(key, dot)
        self.floors[key] = self.floors.get(key, NOTHING).raised(*dot)
        self.state = self.state.raised(*dot)

    @rule(seconds=st.floats(0, 2))
    def wait(self, seconds: float) -> None:
        self.clock.advance(min(seconds, max(0.0, 50 - self.clock.now)))  # floors live for longer

    @invariant()
    def nothing_is_below_its_floor(self) -> None:
        for key, floor in self.floors.items():
            for found in (self.memory.get(key), self.memory.spare(key)):
                assert found is None or floor <= found.vector
        assert self.memory.statistics().bytes <= 3_000


TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_control_without_floors_memory_is_caught() -> None:
    class Unfloored(MemoryMachine):
        floored = False

    case = Unfloored.TestCase
    case.settings = settings(max_examples=200, deadline=None, database=None, print_blob=False)
    with pytest.raises(AssertionError):
        case().runTest()
