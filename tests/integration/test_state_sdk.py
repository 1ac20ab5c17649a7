"""The SDK over the state of three regions: what is written in one is read in the others, as each level promises."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from tests.integration.state_cells import Cells, cells, until

from atoll import state
from atoll.calls import ASK_ELSEWHERE, Caller
from atoll.clock import SystemClock
from atoll.middleware import AtollMiddleware
from atoll.resilience.deadline import Deadline
from atoll.state.sdk.scope import entered

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

T = TypeVar("T")

A, B, C = "eu-west", "eu-central", "us-east"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cells]:
    async with cells(tmp_path_factory.mktemp("state")) as made:
        yield made


async def test_every_type_arrives_in_every_region(three: Cells) -> None:
    views = state.namespace("views")
    with entered(three[A].request()):
        await views.register("title").set("Rich postcards")
        await views.map("prices").update({"a": 1, "b": 2})
        await views.set("tags").add("new", "old")
        assert await views.counter("seen").add(3) == 3
    with entered(three[C].request()):
        await views.counter("seen").add(-1)
        await views.set("tags").add("sold")
    await three.settled()
    for region in (A, B, C):
        with entered(three[region].request()):
            assert await views.register("title").get() == "Rich postcards"
            assert await views.map("prices").items() == {"a": 1, "b": 2}
            assert await views.map("prices").get("b") == 2
            assert await views.set("tags").members() == {"new", "old", "sold"}
            assert await views.counter("seen").value() == 2
    with entered(three[B].request()):
        assert await views.register("title").delete()
        assert await views.map("prices").remove("a", "z")
        await views.set("tags").remove("old")
    await three.settled()
    for region in (A, B, C):
        with entered(three[region].request()):
            assert await views.register("title").get() is None
            assert await views.map("prices").items() == {"b": 2}
            assert not await views.set("tags").contains("old")
    first, *others = await three.digests("views")
    assert all(other == first for other in others)


async def test_a_session_reads_what_it_wrote_in_whichever_region_it_goes_to(three: Cells) -> None:
    """It may be told that the region is behind, but is never shown anything older; without a session it is."""
    carts = state.namespace("carts")
    without = []
    for turn in range(10):
        here = three[A].request()
        with entered(here):
            await carts.map("mine").set("sku", turn)
        token = await three[A].token(here.session)
        with entered(three[C].request()):
            without.append(await carts.map("mine").get("sku") == turn)
        there = three[C].request(token)
        with entered(there):
            assert await shown(lambda: carts.map("mine").get("sku")) == turn
            assert not there.session.grown
    assert not all(without), "control: the link is slower than the read"


async def shown(read: Callable[[], Awaitable[T]]) -> T:
    """What a client is shown that asks again as long as the region is behind."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(state.RegionBehind):
                return await read()


async def test_a_region_that_is_cut_off_refuses_a_session_it_can_not_serve_and_serves_all_others(
    three: Cells,
) -> None:
    carts = state.namespace("carts")
    before = (await three[C].store.statistics()).sessions

    async def waited_in_vain() -> bool:
        """What operators see of it."""
        now = (await three[C].store.statistics()).sessions
        return now.behind > before.behind and now.waited_ms - before.waited_ms >= 100

    await three.cut(C)
    here = three[A].request()
    with entered(here):
        await carts.register("note").set("written in Ireland")
    token = await three[A].token(here.session)
    with entered(three[C].request(token)):
        with pytest.raises(state.RegionBehind, match="lacks the newest writes of eu-west") as behind:
            await carts.register("note").get()
        assert behind.value.elsewhere
        await until(waited_in_vain)
        assert await state.namespace("views").register("none").get() is None, "eventual reads go on"
    with entered(three[C].request()):
        await carts.register("other").set("and so do other sessions")
    await three.heal()
    await three.settled()
    with entered(three[C].request(token)):
        assert await carts.register("note").get() == "written in Ireland"


async def test_a_remote_write_waits_for_another_region_and_says_so_if_none_has_it(three: Cells) -> None:
    kept = state.namespace("kept")
    scope = three[A].request()
    with entered(scope):
        await kept.register("order").set("paid")
        vectors = [await three[region].store.vector() for region in (B, C)]
        own = (await three[A].store.vector()).latest(A)
        assert own is not None
        assert any(vector.seq(own.actor) > 0 for vector in vectors)
        await three.cut(A)
        with pytest.raises(state.NotRemote, match="is on disk in eu-west, but none of"):
            await asyncio.wait_for(kept.register("order").set("shipped"), 60)
        assert await kept.register("order").get() == "shipped"
    await three.heal()
    await three.settled()
    with entered(three[C].request()):
        assert await kept.register("order").get() == "shipped"


async def test_data_stays_in_its_zones(three: Cells) -> None:
    notes = state.namespace("notes-eu")
    with entered(three[A].request()):
        await notes.register("secret").set("only for Europe")
    await three.settled()
    with entered(three[B].request()):
        assert await notes.register("secret").get() == "only for Europe"
    with (
        entered(three[C].request()),
        pytest.raises(state.UnknownNamespace, match="not in us-east, but in: eu-west"),
    ):
        await notes.register("secret").get()
    found = await three[C].store.calls.command("KEYS", "*notes-eu*")
    assert found == []
    log = await three[C].store.calls.command("XRANGE", "s:log", "-", "+")
    assert b"only for Europe" not in repr(log).encode()


async def test_strong_registers_are_one_truth_in_every_region(three: Cells) -> None:
    stock = state.strong("stock", model=int)

    async def founded() -> bool:
        with entered(three[A].request()):
            try:
                await stock.get("probe")
            except state.Unavailable:
                return False
            return True

    await until(founded)
    with entered(three[A].request()):
        version = await stock.create("sku-1", 20)
        with pytest.raises(state.Changed):
            await stock.create("sku-1", 5)

    async def buy(region: str) -> int:
        sold = 0
        with entered(three[region].request()):
            for _ in range(6):
                try:
                    await stock.update("sku-1", _one_less)
                except LookupError:
                    continue
                sold += 1
        return sold

    sold = await asyncio.gather(*(buy(region) for region in (A, B, C, A)))
    with entered(three[B].request()):
        left = await stock.get("sku-1")
    assert left is not None
    assert (sum(sold), left.value) == (20, 0), "24 tried to buy 20"
    assert left.version > version
    with entered(three[C].request()):
        first = await stock.put("sku-2", 1, operation="once")
        assert await stock.put("sku-2", 2, operation="once") == first
        found = await stock.get("sku-2")
        assert found is not None and found.value == 1


async def test_updates_at_once_share_changes_in_every_region(three: Cells) -> None:
    stock = state.strong("stock", model=int)

    async def founded() -> bool:
        with entered(three[A].request()), contextlib.suppress(state.Unavailable):
            await stock.get("busy")
            return True
        return False

    await until(founded)

    def commits() -> int:
        agents = [three[region].agent for region in (A, B, C)]
        return sum(agent.strong.statistics().commits for agent in agents if agent is not None)

    before = commits()

    async def buy(region: str) -> list[state.Found[int]]:
        scope = three[region].request()
        scope.deadline = Deadline(SystemClock(), 60.0)
        with entered(scope):
            return await asyncio.gather(*(stock.update("busy", _one_more) for _ in range(50)))

    told = [one for found in await asyncio.gather(*map(buy, (A, B, C))) for one in found]
    assert sorted(one.value for one in told) == list(range(1, 151))
    assert len({one.version for one in told}) == 150
    assert commits() - before < 75, "one for each update without sharing, and those tried in vain"
    with entered(three[B].request()):
        found = await stock.get("busy")
    assert found == max(told, key=lambda one: one.version)


def _one_more(left: int | None) -> int:
    return (left or 0) + 1


def _one_less(left: int | None) -> int:
    if not left:
        raise LookupError
    return left - 1


async def test_a_minority_refuses_and_the_majority_goes_on(three: Cells) -> None:
    stock = state.strong("stock", model=int)
    await three.cut(C)
    await until(three[C].alone)  # until then a change that goes out is honestly unknown
    try:
        with entered(three[C].request()), pytest.raises(state.Unavailable, match="Nothing was done"):
            await stock.put("cut", 1)
        with entered(three[A].request()):
            await stock.put("cut", 2)
    finally:
        await three.heal()

    async def back() -> bool:
        with entered(three[C].request()):
            try:
                found = await stock.get("cut")
            except state.Unavailable:
                return False
            assert found is not None and found.value == 2
            return True

    await until(back)


def shop(three: Cells, region: str) -> httpx.AsyncClient:
    """A service's replica in a region, asked without a gateway."""
    api = FastAPI()
    api.add_middleware(AtollMiddleware, caller=Caller((), SystemClock()), state=three[region].access)
    carts = state.namespace("carts")

    @api.put("/cart/{sku}")
    async def put(sku: str) -> None:
        await carts.map("of-a-browser").set(sku, 1)

    @api.get("/cart")
    async def get() -> dict[str, int]:
        found: dict[str, int] = await carts.map("of-a-browser").items()
        return found

    @api.post("/both")
    async def both() -> None:
        await state.namespace("views").counter("x").add()
        await carts.register("note").get()

    return httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://shop")


async def caught_up(shop: httpx.AsyncClient, headers: dict[str, str]) -> httpx.Response:
    """The answer once the region has what the session needs; until then nothing but that it is behind."""
    async with asyncio.timeout(60):
        while (answer := await shop.get("/cart", headers=headers)).status_code == 503:
            assert answer.content.startswith(ASK_ELSEWHERE)
    return answer


async def test_a_session_travels_as_cookie_and_as_header(three: Cells) -> None:
    async with shop(three, A) as here, shop(three, C) as there:
        wrote = await here.put("/cart/sku-1")
        token = wrote.headers["atoll-session"]
        assert wrote.cookies["Atoll-Session"] == token
        assert "HttpOnly" in wrote.headers["set-cookie"]
        by_cookie = await caught_up(there, {"Cookie": f"theme=dark; Atoll-Session={token}"})
        by_header = await caught_up(there, {"Atoll-Session": token})
        assert by_cookie.json() == by_header.json() == {"sku-1": 1}
        forged = await there.get("/cart", headers={"Atoll-Session": token[:-2] + "AA"})
        assert forged.status_code == 200, "it is no token of ours, so it asks for nothing"


async def test_a_replica_that_is_behind_says_so_and_whether_another_may_be_asked(three: Cells) -> None:
    await three.cut(C)
    try:
        async with shop(three, A) as here, shop(three, C) as there:
            headers = {"Atoll-Session": (await here.put("/cart/sku-2")).headers["atoll-session"]}
            behind = await there.get("/cart", headers=headers)
            assert behind.status_code == 503
            assert behind.content.startswith(ASK_ELSEWHERE), (
                "nothing was done: the gateway may ask another region"
            )
            wrote = await there.post("/both", headers=headers)
            assert wrote.json()["type"] == "urn:atoll:problem:region-behind", "something was: it may not"
    finally:
        await three.heal()
        await three.settled()


async def test_what_can_not_be_used_says_what_to_do(three: Cells) -> None:
    with pytest.raises(state.NoState, match="AtollMiddleware"):
        await state.namespace("views").register("x").get()
    with entered(three[A].request()):
        with pytest.raises(state.UnknownNamespace, match="it has: carts, kept, notes-eu, stock, views"):
            await state.namespace("cart").register("x").get()
        with pytest.raises(state.UnknownNamespace, match=r"use state\.strong"):
            await state.namespace("stock").register("x").get()
        with pytest.raises(state.UnknownNamespace, match=r"use state\.namespace"):
            await state.strong("views").get("x")
