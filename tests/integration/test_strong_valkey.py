"""Strong registers on real state stores: the function library against the model, crashes, a lost disk, a history."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from importlib import resources
from pathlib import Path
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from tests.integration.stores import Store, state_stores
from tests.unit.strong_local import NAMESPACE, battery

from atoll.simulate.strong.history import Changed, Event, Got, judge
from atoll.simulate.strong.linearizable import Call
from atoll.state.strong.acceptor import Acceptor
from atoll.state.strong.backend import (
    ABSENT,
    ANY,
    Change,
    Committed,
    Conflict,
    Unavailable,
    Unknown,
    Versioned,
)
from atoll.state.strong.ballot import Ballot
from atoll.state.strong.membership import Member
from atoll.state.strong.messages import (
    Accept,
    Accepted,
    Body,
    Configure,
    Describe,
    List,
    Prepare,
    Promised,
    Read,
    Refusal,
    Refused,
    Register,
    Rejected,
    Reply,
    Request,
)
from atoll.state.strong.reconfiguration import Reconfiguration
from atoll.state.strong.registers import Registers, RegistersPolicy, Unreachable
from atoll.state.strong.valkey_acceptor import ValkeyAcceptor
from atoll.stores import open_store

pytestmark = pytest.mark.timeout(240)

REGIONS = ("eu-west", "us-east", "ap-south")
APPLE = Register(NAMESPACE, "apple")
POLICY = RegistersPolicy(timeout_s=4.0, round_s=0.5)


class Cell:
    """State stores of some regions, and the way to the acceptors in them."""

    def __init__(self, stores: Mapping[str, Store]) -> None:
        self.stores = stores
        self.clients = {region: open_store(store.access, retries=1) for region, store in stores.items()}
        self.acceptors = {region: ValkeyAcceptor(client) for region, client in self.clients.items()}

    async def ask(self, region: str, request: Request) -> Reply:
        return await self.acceptors[region].answer(request)

    async def open(self, region: str, identity: str) -> str:
        return await self.acceptors[region].open(identity)

    async def founded(self, proposer: str) -> Registers:
        registers = Registers(self, proposer, Random(proposer), POLICY)
        await Reconfiguration(NAMESPACE, registers, self).found(REGIONS)
        return registers


@pytest.fixture
async def cell(tmp_path: Path) -> AsyncIterator[Cell]:
    async with state_stores(tmp_path, REGIONS) as stores:
        made = Cell(stores)
        for region in REGIONS:
            await made.open(region, f"store-of-{region}")
        yield made
        for client in made.clients.values():
            await client.aclose()


# --- The library against the model

KEYS = st.sampled_from(["", "a", "b", "ä", "a:b", "\n", "ab"])
REGISTERS = st.builds(Register, st.sampled_from([NAMESPACE, "@"]), KEYS)
BALLOTS = st.builds(
    Ballot, st.sampled_from([1, 2, 3, 9, 10, 255, 2**62]), st.sampled_from(["p.1", "p.10", "P.1", "q-1", "_"])
)
VALUES = st.sampled_from([b"", b"v", b"w", b"\x00\xff|"])
BODIES: st.SearchStrategy[Body] = st.one_of(
    st.builds(Prepare, REGISTERS, BALLOTS),
    st.builds(Accept, REGISTERS, BALLOTS, VALUES, st.one_of(st.none(), BALLOTS)),
    st.builds(Accept, REGISTERS, BALLOTS, VALUES, st.one_of(st.none(), BALLOTS)),
    st.builds(Read, REGISTERS),
    st.builds(List, KEYS, st.integers(1, 3)),
    st.builds(Configure, st.sampled_from([b"\x00one", b"two"])),
    st.just(Describe()),
)
REQUESTS = st.builds(
    Request,
    st.sampled_from([NAMESPACE, NAMESPACE, NAMESPACE, "other"]),
    st.sampled_from([1, 2, 2, 2, 10]),
    st.sampled_from(["me", "me", "me", "me", "another"]),
    BODIES,
)


BROKEN = {
    "promises lower ballots": ("if record[1] and less(ballot, record[1]) then", "if false then"),
    "takes a repetition for a defeat": ("if record[1] and record[2] == ballot then", "if false then"),
    "forgets the promise that comes along": ("less(ballot, promise) and promise or ballot", "ballot"),
    "answers as any member": ("if identity ~= args[1] then", "if false then"),
    "answers to older configurations": ("if tonumber(args[2]) < tonumber(standing[1]) then", "if false then"),
    "lists what came before too": ("'(' .. args[3]", "'-'"),
}


async def compare(client: Redis, break_: tuple[str, str] | None = None) -> None:
    """Asks both the same. Raises `AssertionError` where they differ."""
    # What is asked here is whether the two agree; a sync for each step would only make it long.
    await client.config_set("appendfsync", "no")
    code = resources.files("atoll.state.strong").joinpath("acceptor.lua").read_text()
    if break_ is not None:
        assert break_[0] in code
        code = code.replace(*break_)

    async def example(requests: list[Request], *, opened: bool) -> None:
        await client.flushdb()
        model, acceptor = Acceptor(), ValkeyAcceptor(client)
        if opened:
            assert await acceptor.open("me") == model.open("me")
            assert await acceptor.open("later") == model.open("later")
            first = Request(NAMESPACE, 2, "me", Configure(b"first"))
            assert await acceptor.answer(first) == model.answer(first)
        await client.function_load(code, replace=True)
        for request in requests:
            assert await acceptor.answer(request) == model.answer(request), request

    loop = asyncio.get_running_loop()

    @settings(max_examples=150, deadline=None, phases=[Phase.generate], database=None, derandomize=True)
    @given(st.integers(0, 9), st.lists(REQUESTS, max_size=25))
    def run(opened: int, requests: list[Request]) -> None:
        asyncio.run_coroutine_threadsafe(example(requests, opened=opened > 0), loop).result()

    await asyncio.to_thread(run)


async def test_the_library_answers_as_the_model_does(tmp_path: Path) -> None:
    async with state_stores(tmp_path, ("eu-west",)) as stores, stores["eu-west"].client() as client:
        await compare(client)
        for name, change in BROKEN.items():
            with pytest.raises(AssertionError):
                await compare(client, change)
            print(f"found out: {name}")


# --- One acceptor


def asked(body: Body, member: str = "store-of-eu-west") -> Request:
    return Request(NAMESPACE, 2, member, body)


async def test_what_was_promised_and_accepted_outlives_a_kill(cell: Cell) -> None:
    acceptor = cell.acceptors["eu-west"]
    await acceptor.answer(asked(Configure(b"c")))
    low, high = Ballot(1, "p.1"), Ballot(2, "q.1")
    assert await acceptor.answer(asked(Accept(APPLE, low, b"v", None))) == Accepted(low)
    assert await acceptor.answer(asked(Prepare(APPLE, high))) == Promised(low, b"v")
    store = cell.stores["eu-west"]
    await store.kill()
    with pytest.raises(Unreachable, match="state store failed"):
        await acceptor.answer(asked(Read(APPLE)))
    await store.start()
    assert await acceptor.answer(asked(Accept(APPLE, low, b"w", None))) == Rejected(high)
    assert await acceptor.open("another identity") == "store-of-eu-west"


async def wipe(store: Store) -> None:
    await store.kill()
    shutil.rmtree(store.server.folder / "appendonlydir")
    await store.start()


async def test_a_store_that_lost_its_disk_takes_no_part_until_it_joins_anew(cell: Cell) -> None:
    registers = await cell.founded("p.1")
    assert await registers.change(NAMESPACE, "apple", Change(ABSENT, b"v", "1")) == Committed(1)
    await wipe(cell.stores["ap-south"])
    await cell.stores["us-east"].kill()
    # Without its functions, and then with them and another identity: it refuses either way.
    with pytest.raises(Unavailable, match="ap-south"):
        await registers.get(NAMESPACE, "apple")
    assert await cell.open("ap-south", "new store") == "new store"
    refused = await cell.ask("ap-south", asked(Read(APPLE), "store-of-ap-south"))
    assert refused == Refused(Refusal.OTHER_MEMBER)
    with pytest.raises(Unavailable, match="has to join as a new member"):
        await registers.get(NAMESPACE, "apple")
    await cell.stores["us-east"].start()
    change = Reconfiguration(NAMESPACE, registers, cell)
    await change.join(Member("ap-south", "new store"))
    await change.leave(Member("ap-south", "store-of-ap-south"))
    await cell.stores["us-east"].kill()
    assert await registers.get(NAMESPACE, "apple") == Versioned(1, b"v")


# --- The backend


async def test_the_battery(cell: Cell) -> None:
    await battery(await cell.founded("p.1"))


async def test_a_history_under_kills_is_linearizable(cell: Cell) -> None:
    proposers = [await cell.founded(f"{region}.1") for region in REGIONS]
    seed = 20_261_121
    chance = Random(seed)
    events: list[Event] = []
    done = asyncio.Event()

    async def client(number: int) -> None:
        for turn in range(60):
            key, proposer = chance.choice(("apple", "pear")), chance.choice(proposers)
            called = time.monotonic()
            if chance.random() < 0.3:
                try:
                    found = await proposer.get(NAMESPACE, key)
                except Unavailable:
                    continue
                events.append(Event(key, Call(Got(found), called, time.monotonic())))
                continue
            change = Change(
                chance.choice((ANY, ANY, ABSENT)), f"{number}.{turn}".encode(), f"{number}.{turn}"
            )
            outcome: Committed | Conflict | None = None
            unknown = False
            for again in chance.sample(proposers, 3):
                try:
                    outcome = await again.change(NAMESPACE, key, change, timeout_s=0.5)
                    break
                except Unknown:
                    unknown = True
                except Unavailable:
                    pass
            if outcome is not None:
                events.append(Event(key, Call(Changed(change, outcome), called, time.monotonic())))
            elif unknown:
                events.append(Event(key, Call(Changed(change, None), called, None)))

    async def trouble() -> None:
        while not done.is_set():
            store = cell.stores[chance.choice(REGIONS)]
            await store.kill()
            await asyncio.sleep(0.1)
            await store.start()
            await asyncio.sleep(0.2)

    kills = asyncio.create_task(trouble())
    await asyncio.gather(*(client(number) for number in range(6)))
    done.set()
    await kills
    for key in ("apple", "pear"):
        called = time.monotonic()
        found = await proposers[0].get(NAMESPACE, key)
        events.append(Event(key, Call(Got(found), called, time.monotonic())))
    verdicts = judge(events)
    assert all(verdict.linearizable for verdict in verdicts.values()), f"seed {seed}: {verdicts}"
    assert sum(isinstance(event.call.operation, Changed) for event in events) > 100
