"""A region whose state store lost its disk keeps its replicas out until the others have given back what it had."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from tests.integration.state_cells import Cell, Cells, cells, until

from atoll import state
from atoll.calls import ASK_ELSEWHERE, Caller
from atoll.clock import SystemClock
from atoll.middleware import AtollMiddleware
from atoll.state.marker import ensure_marker
from atoll.state.sdk.admission import RegionIncomplete
from atoll.state.sdk.scope import entered
from atoll.state.valkey_store import ValkeyStore
from atoll.stores import open_store

pytestmark = [pytest.mark.timeout(90), pytest.mark.asyncio]

A, B, C = "eu-west", "eu-central", "us-east"
VIEWS, CARTS = state.namespace("views"), state.namespace("carts")


@pytest_asyncio.fixture
async def three(tmp_path: Path) -> AsyncIterator[Cells]:
    async with cells(tmp_path) as made:
        for cell in made.cells.values():
            await until(lambda cell=cell: complete(cell), 30)  # type: ignore[misc]
        yield made


async def complete(cell: Cell) -> bool:
    return (await cell.store.statistics()).complete


async def shown(cell: Cell) -> int | None:
    with entered(cell.request()):
        found: int | None = await VIEWS.register("kept").get()
        return found


async def written(three: Cells) -> None:
    with entered(three[A].request()):
        await VIEWS.register("kept").set(7)
        await VIEWS.counter("seen").add(3)
        await CARTS.map("mine").set("sku", 1)
    await three.settled()


async def test_replicas_are_kept_out_of_a_store_that_lost_its_disk_until_its_data_are_back(
    three: Cells,
) -> None:
    await written(three)
    cell = three[C]
    before = cell.request()
    with entered(before):
        await CARTS.map("mine").set("other", 2)
    token = await cell.token(before.session)
    await three.settled()
    assert await shown(cell) == 7
    await cell.stop_agent()
    await cell.wipe()
    await cell.start_store()
    assert ensure_marker(cell.config.state_marker).losses == 1
    for needs in (None, token):  # a session of its own lost epoch is not let through either
        scope = cell.request(needs)
        with entered(scope):
            for attempt in (
                VIEWS.register("kept").get,
                VIEWS.counter("seen").value,
                CARTS.map("mine").items,
                lambda: VIEWS.counter("seen").add(1),
                lambda: VIEWS.set("tags").remove("x"),
            ):
                with pytest.raises(RegionIncomplete, match="us-east has lost its disk") as refused:
                    await attempt()
                assert refused.value.elsewhere
        assert not scope.wrote, "the gateway may ask another region"
    assert (await cell.store.statistics()).lost
    # Whoever restarts it meanwhile changes nothing.
    await cell.server.kill()
    await cell.start_store()
    with pytest.raises(RegionIncomplete):
        await shown(cell)

    await cell.start_agent()
    seen = []

    async def back() -> bool:
        try:
            seen.append(await shown(cell))
        except RegionIncomplete:
            return False
        return True

    await until(back, 30)
    assert seen == [7], "never the empty store"
    with entered(cell.request(token)):

        async def followed() -> bool:
            """The replica follows the store again a moment after it is let in; until then it says it is behind."""
            with contextlib.suppress(state.RegionBehind):
                assert await CARTS.map("mine").items() == {"sku": 1, "other": 2}
                return True
            return False

        await until(followed, 20)
        assert await VIEWS.counter("seen").add(1) == 4
    assert not (await cell.store.statistics()).lost


@pytest.mark.skip(
    reason="open in issue 4: a second loss now and then takes over 30 s to mend, cause not found"
)
async def test_no_read_meets_the_empty_store_however_early_it_comes(three: Cells) -> None:
    """Readers go on while the disk is lost; without the check of each connection one of them is shown nothing."""
    await written(three)
    cell = three[B]
    unchecked = ValkeyStore(open_store(cell.wiring.state), open_store(cell.wiring.state), B)
    guarded: set[int | None] = set()
    control: set[bool] = set()
    refusals = 0

    async def read() -> None:
        nonlocal refusals
        while True:
            try:
                guarded.add(await shown(cell))
            except RegionIncomplete:
                refusals += 1
            except state.StateError:
                pass  # it is down
            await asyncio.sleep(0.001)

    async def read_unchecked() -> None:
        while True:
            with contextlib.suppress(state.StateError):
                control.add(await unchecked.read_register("views", "kept") is None)
            await asyncio.sleep(0.001)

    readers = [asyncio.create_task(read()) for _ in range(4)] + [asyncio.create_task(read_unchecked())]
    try:
        await until(lambda: _is(bool(guarded and control)), 20)
        await cell.wipe()
        await cell.start_store()
        await until(lambda: _is(refusals > 0 and True in control), 20)
        await until(lambda: complete(cell), 30)
        guarded_before_return = set(guarded)
        guarded.clear()
        await until(lambda: _is(bool(guarded)), 20)
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        await unchecked.aclose()
    assert control == {True, False}, "control: unchecked, the empty store is taken for the truth"
    assert guarded_before_return | guarded == {7}
    assert refusals


async def _is(value: bool) -> bool:
    return value


async def test_a_gateway_is_told_to_ask_another_region_and_a_crash_alone_keeps_nobody_out(
    three: Cells,
) -> None:
    await written(three)
    cell = three[C]
    api = FastAPI()
    api.add_middleware(AtollMiddleware, caller=Caller((), SystemClock()), state=cell.access)

    @api.get("/")
    async def get() -> int | None:
        found: int | None = await VIEWS.register("kept").get()
        return found

    @api.post("/")
    async def post() -> int:
        return await VIEWS.counter("posted").add(1)

    await cell.stop_agent()
    await cell.server.kill()
    await cell.start_store()
    assert await shown(cell) == 7, "its disk is there"
    await cell.wipe()
    await cell.start_store()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://shop") as shop:
        for answer in (await shop.get("/"), await shop.post("/")):
            assert answer.status_code == 503
            assert answer.content.startswith(ASK_ELSEWHERE)
    await cell.start_agent()
    await until(lambda: complete(cell), 30)
