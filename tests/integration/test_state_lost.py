"""A region whose state store lost its disk keeps its replicas out until the others have given back what it had."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from tests.integration.state_cells import Cell, Cells, cells, until
from tests.integration.state_stores import OPENING, PASSWORD, state_server
from tests.unit.agent_alone import TOPOLOGY, agent_config

from atoll import state
from atoll.agent.state import StateAgent
from atoll.calls import ASK_ELSEWHERE, Caller
from atoll.clock import SystemClock
from atoll.middleware import AtollMiddleware
from atoll.state.errors import StoreUnavailable
from atoll.state.marker import ensure_marker
from atoll.state.one_server import same_server
from atoll.state.opening import load, state_library
from atoll.state.replication import DEFAULTS
from atoll.state.sdk.admission import RegionIncomplete
from atoll.state.sdk.scope import entered
from atoll.state.valkey_store import ValkeyStore
from atoll.state.vector import epoch_of
from atoll.stores import connect, open_store, ping
from atoll.topology import parse
from atoll.topology.wiring import StoreAccess, write_private

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

A, B, C = "eu-west", "eu-central", "us-east"
VIEWS, CARTS = state.namespace("views"), state.namespace("carts")

QUICK = replace(DEFAULTS, heartbeat_s=0.1, patience_s=0.1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cells]:
    async with cells(tmp_path_factory.mktemp("lost"), settings=QUICK) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def three(regions: Cells) -> Cells:
    """All complete."""
    for cell in regions.cells.values():
        await until(lambda cell=cell: complete(cell))  # type: ignore[misc]
    return regions


async def complete(cell: Cell) -> bool:
    return (await cell.store.statistics()).complete


async def shown(cell: Cell) -> int | None:
    with entered(cell.request()):
        found: int | None = await VIEWS.register("kept").get()
        return found


async def written(three: Cells) -> None:
    with entered(three[A].request()):
        await VIEWS.register("kept").set(7)
        await VIEWS.counter("seen").add(3 - await VIEWS.counter("seen").value())
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
    losses = ensure_marker(cell.config.state_marker).losses
    await cell.wipe()
    await cell.start_store()
    assert ensure_marker(cell.config.state_marker).losses == losses + 1
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

    await until(back)
    assert seen == [7], "never the empty store"
    with entered(cell.request(token)):

        async def followed() -> bool:
            """The replica follows the store again a moment after it is let in; until then it says it is behind."""
            with contextlib.suppress(state.RegionBehind):
                assert await CARTS.map("mine").items() == {"sku": 1, "other": 2}
                return True
            return False

        await until(followed)
        assert await VIEWS.counter("seen").add(1) == 4
    assert not (await cell.store.statistics()).lost


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
        await until(lambda: _is(bool(guarded and control)))
        await cell.wipe()
        await cell.start_store()
        await until(lambda: _is(refusals > 0 and True in control))
        await until(lambda: complete(cell))
        guarded_before_return = set(guarded)
        guarded.clear()
        await until(lambda: _is(bool(guarded)))
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


async def test_what_a_session_uses_ends_with_the_server(tmp_path: Path) -> None:
    """The store may be gone and back, with other data, between two commands of the agent."""
    async with state_server(tmp_path / "store") as server:
        held = same_server()
        store, other, control = (
            ValkeyStore(
                connect(server.address, OPENING, connected=check),
                connect(server.address, OPENING, connected=check),
                C,
            )
            for check in (held, held, None)
        )
        async with store, other, control:
            await load(control.calls, state_library())
            for _ in range(2):
                await store.open(C, "one")
                assert (await control.statistics()).actor
            await server.kill()
            await server.start()
            for late in (store, other):
                for _ in range(2):
                    with pytest.raises(
                        StoreUnavailable, match="its server has started anew; nothing was done"
                    ):
                        await late.vector()
            assert not (await control.statistics()).actor, "control: without the check it is asked"
        anew = connect(server.address, OPENING, connected=same_server())
        assert await ping(anew)
        await anew.aclose()


async def test_a_store_that_somebody_else_runs_is_opened_and_its_loss_is_noticed(tmp_path: Path) -> None:
    """By the agent alone: there is no warden that keeps the marker."""
    async with state_server(tmp_path / "store", start=False) as server:
        server.server.write_config(PASSWORD)
        url = f"redis://:{PASSWORD}@{server.address.host}:{server.address.port}"
        config = agent_config(tmp_path, StoreAccess(url=url))
        topology = parse(TOPOLOGY.format(revision=1) + '[namespaces.views]\nlevel = "eventual"\n')
        write_private(config.topology_file, b"")
        agent = StateAgent(config, b"secret", topology, SystemClock(), Random())
        running = asyncio.create_task(agent.run())
        try:
            for loss in range(2):
                await server.start()

                async def served() -> bool:
                    with contextlib.suppress(state.StateError):
                        return (await agent.store.statistics()).complete
                    return False

                await until(served)
                marker = ensure_marker(config.state_marker)
                assert marker.losses == loss
                assert marker.epoch == epoch_of((await agent.store.statistics()).actor)
                await server.kill()
                conf = server.server.config_file.read_bytes()
                shutil.rmtree(server.server.folder)
                server.server.folder.mkdir()
                write_private(server.server.config_file, conf)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await agent.close()


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
    await until(lambda: complete(cell))
