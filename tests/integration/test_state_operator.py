"""What operators see of the state of three regions, and do about it: `atoll state` against real agents and stores."""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.state_cells import Cell, Cells, cells, until

from atoll import state
from atoll.agent.config import write_agent_config
from atoll.agent.exposition import state_exposition
from atoll.agent.figures import gather
from atoll.agent.inspect import Inspector
from atoll.agent.inspection import ConflictsQuestion, GetQuestion, KeyKind, KeysQuestion
from atoll.agent.report import CELL_REPORT, CellReport
from atoll.cell.progress import Progress
from atoll.cli.exits import CommandError, Exit
from atoll.cli.state_regions import StateRegions
from atoll.clock import SystemClock
from atoll.rpc import Client, Document, RpcError, StreamingHandler, serve_streaming
from atoll.rpc import Progress as Send
from atoll.state.digest import bucket_of
from atoll.state.kind import Kind
from atoll.state.replication import DEFAULTS
from atoll.state.sdk.scope import entered

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]

A, B, C = "eu-west", "eu-central", "us-east"

SELDOM = replace(DEFAULTS, verify_s=3600.0, silence_s=15.0)
"""Agents would find and mend by themselves what these tests break, and a slow machine is no lost link."""

PATIENT_S = 60.0
"""What a slow machine may take for what a region is asked; it ends nothing that these tests are about."""


@dataclass(frozen=True, slots=True)
class Operated:
    """Regions, and an operator's way to their agents."""

    cells: Cells
    regions: StateRegions


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Operated]:
    async with contextlib.AsyncExitStack() as stack:
        made = await stack.enter_async_context(cells(tmp_path_factory.mktemp("state"), settings=SELDOM))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))  # a socket's path must be short
        sockets = {region: folder / region for region in made.cells}
        for region, socket in sockets.items():
            await stack.enter_async_context(await serve_streaming(socket, agent_of(made[region])))
        for cell in made.cells.values():  # whichever test comes first, the deployment has begun
            await until(lambda cell=cell: complete(cell), PATIENT_S)  # type: ignore[misc]
        yield Operated(made, StateRegions(sockets))


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """How soon a silent agent or store is given up is no subject of these tests."""
    for limit in (
        "agent.exposition.TIMEOUT_S",
        "agent.figures.STORE_TIMEOUT_S",
        "agent.inspect.STRONG_TIMEOUT_S",
        "cli.state_regions.TIMEOUT_S",
        "state.sdk.strong.TIMEOUT_S",
    ):
        monkeypatch.setattr(f"atoll.{limit}", PATIENT_S)


async def complete(cell: Cell) -> bool:
    return (await cell.store.statistics()).complete


def agent_of(cell: Cell) -> StreamingHandler:
    """What `atoll.agent` answers on its socket."""
    assert cell.agent is not None
    agent = cell.agent
    inspector = Inspector(cell.region, agent, SystemClock())

    async def handle(method: str, params: Document, send: Send) -> Document:
        if method in inspector.methods:
            return await inspector.answer(method, params, send)
        document: Document = CELL_REPORT.dump_python(
            CellReport(
                region=cell.region,
                at="",
                gateways={},
                in_flight={},
                capacity={},
                held=0,
                replicas={},
                serve_answers=False,
                cache_answers=False,
                state_answers=True,
                state=await gather(agent),
            ),
            mode="json",
        )
        return document

    return handle


async def test_a_key_is_shown_side_by_side_with_what_differs(three: Operated) -> None:
    views = state.namespace("views")
    with entered(three.cells[A].request()):
        await views.register("shown").set("Rich postcards")
        await views.map("prices").update({"a": 1, "b": 2})
        await views.counter("seen").add(3)
        await views.set("tags").add("new")
    await three.cells.settled()
    for key, kind, value in [
        ("shown", KeyKind.REGISTER, 'j"Rich postcards"'),
        ("seen", KeyKind.COUNTER, "+3 -0"),
        ("tags", KeyKind.SET, ""),
    ]:
        document = await three.regions.get(GetQuestion(namespace="views", key=key))
        assert set(document.regions) == {A, B, C}
        for answer in document.regions.values():
            (cell,) = answer.cells
            assert (cell.kind, cell.value) == (kind, value)
            assert cell.actor is not None
            assert cell.actor.startswith(f"{A}.")
            assert cell.seq > 0
        assert not document.differing
    fields = (await three.regions.get(GetQuestion(namespace="views", key="prices"))).regions[C].cells
    assert [(cell.field, cell.value) for cell in fields] == [("a", "j1"), ("b", "j2")]
    await three.cells.cut(C)
    with entered(three.cells[A].request()):
        await views.map("prices").set("b", 3)
    differing = (await three.regions.get(GetQuestion(namespace="views", key="prices"))).differing
    assert differing == ("map b",)
    await three.cells.heal()
    await three.cells.settled()
    assert not (await three.regions.get(GetQuestion(namespace="views", key="prices"))).differing


async def test_a_strong_register_is_read_through_every_region(three: Operated) -> None:
    stock = state.strong("stock", model=int)

    async def founded() -> bool:
        with entered(three.cells[A].request()):
            try:
                await stock.get("probe")
            except state.Unavailable:
                return False
            return True

    await until(founded, PATIENT_S)
    with entered(three.cells[A].request()):
        await stock.create("sku", 20)
    document = await three.regions.get(GetQuestion(namespace="stock", key="sku"))
    assert not document.silent
    for answer in document.regions.values():
        (cell,) = answer.cells
        assert cell.kind is KeyKind.STRONG
        assert cell.value is not None
        assert cell.value.endswith("20")
    assert not document.differing
    with pytest.raises(CommandError, match="strong") as refused:
        await three.regions.verify("stock", 5)
    assert refused.value.status == Exit.USAGE


async def test_keys_are_listed_with_where_they_are(three: Operated) -> None:
    views = state.namespace("views")
    with entered(three.cells[B].request()):
        for number in range(5):
            await views.register(f"listed-{number}").set(number)
    await three.cells.settled()
    document = await three.regions.keys(KeysQuestion(namespace="views", prefix="listed-", limit=3))
    assert [place.at.key for place in document.keys] == ["listed-0", "listed-1", "listed-2"]
    assert all(set(place.regions) == {A, B, C} for place in document.keys)
    assert document.more


async def conflict(three: Operated, key: str) -> None:
    """Two regions write while neither hears the other."""
    await three.cells.cut(C)
    for region in (A, C):
        with entered(three.cells[region].request()):
            await state.namespace("views").register(key).set(f"secret of {region}")
    await three.cells.heal()
    await three.cells.settled()


async def test_conflicts_are_listed_without_values(three: Operated) -> None:
    await conflict(three, "both")
    document = await three.regions.conflicts(ConflictsQuestion(namespace="views", limit=10))
    for answer in document.regions.values():
        assert answer.counted["views"] >= 1
    (found,) = [one for one in document.regions[A].conflicts if one.key == "both"]
    assert {found.winner.partition(".")[0], found.loser.partition(".")[0]} == {A, C}
    assert "secret" not in repr(document)


async def test_a_confined_namespace_is_shown_from_its_holders_only(three: Operated) -> None:
    with entered(three.cells[A].request()):
        await state.namespace("notes-eu").register("note").set("only for Europe")
    await three.cells.settled()
    document = await three.regions.get(GetQuestion(namespace="notes-eu", key="note"))
    assert set(document.regions) == {A, B}
    assert not document.silent
    outside = StateRegions({C: three.regions.sockets[C]})
    for asked in (
        outside.get(GetQuestion(namespace="notes-eu", key="note")),
        outside.keys(KeysQuestion(namespace="notes-eu", limit=10)),
        outside.conflicts(ConflictsQuestion(namespace="notes-eu", limit=10)),
    ):
        with pytest.raises(CommandError, match="not kept in us-east, but in: eu-west, eu-central") as refused:
            await asked
        assert refused.value.status == Exit.USAGE
    with pytest.raises(CommandError, match="no namespace 'nothing'; it has: views"):
        await outside.get(GetQuestion(namespace="nothing", key="note"))


async def test_what_a_store_has_lost_is_found_and_mended(three: Operated) -> None:
    """An operation is undone in one store, which says that it has it: no log brings it again."""
    views, store = state.namespace("views"), three.cells[C].store
    digest = f"s:g:views:{bucket_of(Kind.REGISTER, 'title'):02x}"
    with entered(three.cells[A].request()):
        await views.register("title").set("first")
        await three.cells.settled()
        before = [await store.calls.command("GET", name) for name in ("s:d:views:r:title", digest)]
        await views.register("title").set("second")
        await three.cells.settled()
    control = await three.regions.verify("views", PATIENT_S)
    assert control.equal, control

    for name, content in zip(("s:d:views:r:title", digest), before, strict=True):
        await store.calls.command("SET", name, content)
    found = await three.regions.verify("views", PATIENT_S)
    assert found.equal is False
    assert {(one.region, one.peer): one.buckets for one in found.compared} == {
        (A, B): 0,
        (A, C): 1,
        (B, C): 1,
    }
    assert (await three.regions.get(GetQuestion(namespace="views", key="title"))).differing == ("register",)

    with entered(three.cells[C].request()):
        assert await views.register("title").get() == "first", "control: nothing but a repair brings it"
    progress: list[Progress] = []
    mended = await three.regions.repair("views", C, PATIENT_S, progress.append)
    assert mended.equal, mended
    assert mended.transfers[C]
    assert any("transferring" in event.detail for event in progress)
    with entered(three.cells[C].request()):
        assert await views.register("title").get() == "second"
    assert (await three.regions.verify(None, PATIENT_S)).equal


async def test_verify_does_not_guess_about_a_region_that_is_cut_off(three: Operated) -> None:
    await three.cells.cut(C)
    with entered(three.cells[A].request()):
        await state.namespace("views").register("cut").set("not everywhere")
    found = await three.regions.verify("views", 20)
    assert found.equal is None
    assert {one.peer for one in found.compared if one.buckets is None} == {C}
    assert all(one.reason for one in found.compared if one.buckets is None)
    await three.cells.heal()
    await three.cells.settled()
    gone = StateRegions({**three.regions.sockets, "mars": Path("/nonexistent/mars")})
    silent = await gone.verify("views", PATIENT_S)
    assert silent.equal is None
    assert "mars" in silent.silent


async def test_figures_tell_of_lag_conflicts_and_ballots_and_prometheus_reads_them(three: Operated) -> None:
    await conflict(three, "figures")
    agent = three.cells[A].agent
    assert agent is not None

    async def measured() -> bool:
        report = await gather(agent)
        return report is not None and all(
            peer.connected and peer.p99_s is not None for peer in report.peers.values()
        )

    await until(measured, PATIENT_S)
    report = await gather(agent)
    assert report is not None
    assert set(report.peers) == {B, C}
    assert all(peer.connected and peer.staleness_s is not None for peer in report.peers.values())
    assert report.log_entries > 0
    assert report.log_bytes > 0
    assert report.conflicts["views"] >= 1
    assert report.complete
    text = (await state_exposition(A, three.regions.sockets[A])).decode()
    samples = {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }
    assert samples["atoll_state_up", (("region", A),)] == 1
    assert samples["atoll_state_peer_connected", (("origin", C), ("region", A))] == 1
    assert ("atoll_state_conflicts_total", (("namespace", "views"), ("region", A))) in samples
    silent = (await state_exposition(A, Path("/nonexistent/agent.sock"))).decode()
    assert f'atoll_state_up{{region="{A}"}} 0.0' in silent
    assert "atoll_state_log_bytes" not in silent


async def test_an_agent_s_process_answers_on_its_socket(three: Operated) -> None:
    """The last test here: the region's agent is a process of its own from now on."""
    cell = three.cells[C]
    await cell.stop_agent()
    file = cell.config.socket.with_name("agent.json")
    write_agent_config(file, cell.config)
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "atoll.agent", "--config", str(file))
    client = Client(cell.config.socket)
    try:

        async def linked() -> bool:
            try:
                report = CELL_REPORT.validate_python(await client.call("report")).state
            except RpcError:
                return False
            return report is not None and all(peer.connected for peer in report.peers.values())

        await until(linked, PATIENT_S)
        regions = StateRegions({**three.regions.sockets, C: cell.config.socket})
        with entered(three.cells[A].request()):
            await state.namespace("views").register("process").set("there")
        await three.cells.settled()
        document = await regions.get(GetQuestion(namespace="views", key="process"))
        assert set(document.regions) == {A, B, C}
        assert not document.differing
        assert (await regions.verify("views", PATIENT_S)).equal
        with pytest.raises(RpcError, match=r"it has: report, moves, state\.get"):
            await client.call("state.forget")
        with pytest.raises(RpcError, match="bad-request"):
            await client.call("state.keys", {"namespace": "views", "limit": 0})
    finally:
        process.terminate()
        assert await process.wait() == 0
