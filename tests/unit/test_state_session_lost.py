"""Sessions over a lost disk: what another region may still have is waited for, what nobody has is not."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random
from typing import Self

import pytest
from tests.unit.shop_state import Registers

from atoll import state
from atoll.clock import ManualClock
from atoll.state.errors import StoreUnavailable
from atoll.state.model import AsyncModelStore, ModelStore
from atoll.state.sdk.access import StateAccess
from atoll.state.sdk.regional import RegionalState
from atoll.state.sdk.scope import Scope, entered
from atoll.state.session import Session, SessionTokens, kept
from atoll.state.store import ApplyOutcome, Batch, PeerState
from atoll.state.vector import NOTHING, Dot, Vector
from atoll.state.wiring import NamespaceWiring
from atoll.topology import Behind, DataType, Durability, Level

A, B, C = "eu-west", "eu-central", "us-east"
OLD, NEW = f"{A}.1700000000", f"{A}.1700000001"
CARTS = NamespaceWiring(Level.SESSION, tuple(DataType), Durability.REGION, (A, B, C), Behind.ELSEWHERE)


class Unsteady(AsyncModelStore):
    """A store that doesn't say what it has heard of others while it is `mute`."""

    mute = False

    async def peers(self) -> "dict[str, PeerState]":
        if self.mute:
            raise StoreUnavailable("it is mute", sent=False)
        return dict(self.model.peers())


@dataclass
class Region:
    """A store, and what a replica there has."""

    name: str
    model: ModelStore
    store: Unsteady
    access: StateAccess

    async def put(self, key: str, value: int, session: Session) -> None:
        with entered(Scope(self.access.regional, session, access=self.access)):
            await state.namespace("carts").register(key, int).set(value)

    async def read(self, key: str, session: Session) -> int | None:
        with entered(Scope(self.access.regional, session, access=self.access)):
            found = await state.namespace("carts").register(key, int).get()
        assert found is None or isinstance(found, int)
        return found


def replica(name: str, store: Unsteady, clock: ManualClock) -> StateAccess:
    async def follow() -> AsyncIterator[Vector]:
        while True:
            yield store.model.vector()
            await store.read_log(store.model.vector().latest(name), 1, block_s=0.01)

    regional = RegionalState(name, {"carts": CARTS}, store, follow, Registers(), clock, Random(1))
    return StateAccess(regional, SessionTokens(b"key"), clock, regional.close)


def region(name: str, clock: ManualClock) -> Region:
    model = ModelStore(clock)
    model.open(name, "a-test")
    model.complete()
    store = Unsteady(model)
    return Region(name, model, store, replica(name, store, clock))


class Regions:
    """Three of them, and streams that bring what they are told to."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.all = [region(name, self.clock) for name in (A, B, C)]

    async def __aenter__(self) -> Self:
        self.stack = AsyncExitStack()
        for one in self.all:
            self.stack.push_async_callback(self.close, one)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()

    async def close(self, one: Region) -> None:
        await one.access.close()

    def bring(self, origin: Region, *to: Region) -> None:
        """The log of `origin`, from where each of `to` knows it."""
        for one in to:
            entries = origin.model.read_log(None, 1000).entries
            for entry in entries:
                actor, seq = entry.dot
                if one.model.vector().seq(actor) < seq:
                    batch = Batch(actor, seq - 1, seq, ((seq, entry.operation),))
                    assert one.model.apply(batch).outcome is ApplyOutcome.OK, (origin.name, one.name, entry)

    def beat(self, *regions: Region) -> None:
        """Everybody says what he knows, and hears it; twice, so that all have said that they heard the others."""
        talking = regions or tuple(self.all)
        for _ in range(2):
            for one in talking:
                one.model.heartbeat()
            for one in talking:
                self.bring(one, *(other for other in talking if other is not one))

    def transfer(self, source: Region, to: Region) -> None:
        """All that `source` has."""
        for bucket in source.model.digests("carts"):
            at = [cell.at for cell in source.model.listing("carts", bucket).cells]
            to.model.merge("carts", source.model.cells("carts", at))
        to.model.raise_to(source.model.vector(), source.model.clock())

    async def lose(self, lost: Region, source: Region) -> None:
        """The store of `lost` loses its disk, begins a new epoch, and is complete with what `source` has."""
        floor = int(self.clock.wall())
        lost.model.wipe()
        self.clock.advance(5)
        lost.model.open(lost.name, "a-test", floor=floor)
        self.transfer(source, lost)
        lost.model.complete()
        await lost.access.close()  # the end of a server ends all that was heard of it
        lost.access = replica(lost.name, lost.store, self.clock)


@pytest.mark.parametrize(
    ("said", "up_to"),
    [
        ([Vector({OLD: 4})], 9),
        ([Vector({OLD: 4}), Vector({OLD: 4, NEW: 1})], 9),
        ([Vector({OLD: 4, NEW: 1}), NOTHING], 9),
        ([Vector({OLD: 4, NEW: 1}), Vector({OLD: 9, NEW: 1})], 9),
        ([Vector({OLD: 4, NEW: 1}), Vector({OLD: 7, NEW: 2})], 7),
        ([Vector({NEW: 1}), Vector({NEW: 2})], 0),
        ([Vector({OLD: 20, NEW: 1})], 9),
    ],
)
def test_only_what_all_have_heard_the_end_of_and_none_has_is_lost(said: list[Vector], up_to: int) -> None:
    assert kept(Dot(OLD, 9), said) == Dot(OLD, up_to)


def test_what_is_lost_is_forgotten_and_the_client_gets_another_token() -> None:
    session = Session(Vector({OLD: 9, NEW: 1}))
    session.forget(Dot(OLD, 9))
    assert not session.grown
    session.forget(Dot(OLD, 4))
    assert session.needs() == Vector({OLD: 4, NEW: 1}) and session.grown
    session.forget(Dot(OLD, 0))
    assert session.needs() == Vector({NEW: 1})


async def test_what_another_region_has_of_a_lost_epoch_is_waited_for() -> None:
    async with Regions() as regions:
        a, b, c = regions.all
        session = Session()
        await a.put("k", 1, session)
        regions.beat()
        await a.put("k", 2, session)
        regions.bring(a, b)
        await regions.lose(a, c)
        regions.beat()
        for behind in (a, c):
            with pytest.raises(state.RegionBehind):
                await behind.read("k", session)
        for behind in (a, c):
            regions.transfer(b, behind)
            assert await behind.read("k", session) == 2


async def test_what_a_region_may_have_that_was_not_heard_since_is_waited_for() -> None:
    async with Regions() as regions:
        a, b, c = regions.all
        session = Session()
        regions.beat()
        await a.put("k", 1, session)
        regions.bring(a, b)
        await regions.lose(a, c)
        regions.beat(a, c)  # b is cut off
        with pytest.raises(state.RegionBehind):
            await c.read("k", session)


async def test_what_nobody_has_is_not_waited_for_and_no_write_names_it() -> None:
    async with Regions() as regions:
        a, b, c = regions.all
        session = Session()
        await a.put("k", 1, session)
        regions.beat()
        await a.put("k", 2, session)
        await regions.lose(a, c)
        regions.beat()
        assert await c.read("k", session) == 1
        await c.put("other", 1, session)
        regions.bring(c, a, b)  # all of it is applied: nothing waits for what is lost


async def test_a_write_names_what_its_client_saw_of_an_earlier_epoch_of_its_own_region() -> None:
    async with Regions() as regions:
        a, b, c = regions.all
        session = Session()
        regions.beat()
        await a.put("first", 1, session)
        regions.bring(a, b)
        await regions.lose(a, b)
        await a.put("second", 2, session)
        with pytest.raises(AssertionError, match="wait"):
            regions.bring(a, c)  # it lacks the first one
        assert await c.read("second", Session()) is None
        regions.transfer(b, c)
        regions.bring(a, c)
        assert await c.read("second", Session()) == 2 and await c.read("first", Session()) == 1


async def test_what_a_region_wrote_itself_is_there_though_something_else_is_lacking() -> None:
    async with Regions() as regions:
        a, b, _ = regions.all
        session = Session()
        regions.beat()
        await b.put("k", 1, session)
        lost = session.needs()
        await regions.lose(b, a)
        regions.beat()
        await a.put("k", 2, session)  # it is known what is lost, and the store is followed from here on
        await a.put("k", 3, session)
        session.join(lost)  # as by a token from before
        assert await a.read("k", session) == 3


async def test_a_token_is_made_without_a_store_and_leaves_out_what_was_stable_before() -> None:
    async with Regions() as regions:
        a, b, c = regions.all
        tokens, session = SessionTokens(b"key"), Session()
        await a.put("k", 1, session)
        with pytest.raises(state.RegionBehind):
            await b.read("k", session)  # follows its store from here on
        b.store.mute = True
        assert tokens.read(await b.access.token(session)) == session.needs()
        b.store.mute = False
        regions.bring(a, b, c)
        regions.beat()
        assert await b.read("k", session) == 1
        regions.clock.advance(1)
        assert tokens.read(await b.access.token(session)) == NOTHING
        b.store.mute = True
        regions.clock.advance(1)
        assert tokens.read(await b.access.token(session)) == NOTHING, "what was stable stays so"
        await b.put("k", 2, session)
        assert tokens.read(await b.access.token(session)) == Vector.of(
            [b.model.read_log(None, 1000).entries[-1].dot]
        )
