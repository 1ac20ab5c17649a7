"""Moves of the state while traffic runs: regions that join, leave and were away, and versions beside each other."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import msgpack
import pytest
import pytest_asyncio
from tests.integration.ports import free_port
from tests.integration.state_cells import SECRET, Cell, Cells, cells, until
from tests.unit.agent_alone import TOPOLOGY, agent_config

from atoll import state
from atoll.agent.peers import LogChannel
from atoll.agent.state import StateAgent
from atoll.channel import Channel, HelloRefused, Wire, hello, open_channel
from atoll.channel.frames import LENGTH, length_of, pack, unpack
from atoll.clock import SystemClock
from atoll.state.errors import StoreUnavailable
from atoll.state.opening import Library, load, state_library
from atoll.state.replication import DEFAULTS
from atoll.state.sdk.scope import entered
from atoll.state.store import Listing
from atoll.state.strong.membership import Configuration, parse
from atoll.state.strong.messages import Describe, Description, Request
from atoll.state.strong.registers import Unreachable
from atoll.state.strong.valkey_acceptor import ValkeyAcceptor
from atoll.state.valkey_store import ValkeyStore
from atoll.state.vector import Vector
from atoll.stores import open_store
from atoll.topology import parse as parse_topology
from atoll.topology.wiring import Address

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]

A, B, C, D = "eu-west", "eu-central", "us-east", "us-west"

SHORT_LOG = replace(DEFAULTS, log_keep=20, collect_s=0.2)
"""What everybody has leaves the log at once, so a new region finds a part of the past in no log."""


class Traffic:
    """Clients in every region that write until they are told to stop; what was acknowledged is remembered."""

    def __init__(self, cells: Cells, regions: tuple[str, ...]) -> None:
        self._cells = cells
        self.written: dict[str, list[str]] = {region: [] for region in regions}
        self._ending: set[str] = set()
        self._tasks = {region: asyncio.create_task(self._write(region)) for region in regions}

    async def more(self, region: str) -> None:
        """Returns when the region has acknowledged some that were begun after this."""
        wanted = len(self.written[region]) + 10

        async def enough() -> bool:
            self._tasks[region].done() and self._tasks[region].result()
            return len(self.written[region]) >= wanted

        await until(enough)

    async def stop(self, *regions: str) -> None:
        """Returns when nothing is under way."""
        self._ending.update(regions or self._tasks)
        await asyncio.gather(*(self._tasks[region] for region in self._ending))

    def all(self) -> set[str]:
        return {key for keys in self.written.values() for key in keys}

    async def _write(self, region: str) -> None:
        views = state.namespace("views")
        with entered(self._cells[region].request()):
            while region not in self._ending:
                key = f"{region}-{len(self.written[region])}"
                while not await _done(views.map("all").set(key, 1)):
                    await asyncio.sleep(0.1)
                self.written[region].append(key)
                await asyncio.sleep(0.03)


async def _done(write: Awaitable[None]) -> bool:
    """False: it may have been done, and is repeated, for a store gave no answer in time."""
    with contextlib.suppress(StoreUnavailable):
        await write
        return True
    return False


async def all_of(cell: Cell) -> set[str]:
    with entered(cell.request()):
        return set(await state.namespace("views").map("all").items())


async def has(cell: Cell, key: str) -> bool:
    with entered(cell.request()):
        return await state.namespace("views").register(key).get() is not None


async def put(cell: Cell, key: str) -> None:
    with entered(cell.request()):
        await state.namespace("views").register(key).set(key)


async def complete(cell: Cell) -> bool:
    return (await cell.store.statistics()).complete


async def drop(cell: Cell, key: str) -> None:
    with entered(cell.request()):
        await state.namespace("views").register(key).delete()


async def equal(made: Cells, namespace: str = "views") -> None:
    """Returns when all regions hold the same."""

    async def same() -> bool:
        first, *others = await made.digests(namespace)
        return all(other == first for other in others)

    await until(same)


async def acceptors(cell: Cell) -> Configuration | None:
    """Of `stock`, as the region's own acceptor goes by them. None, too, while nobody has loaded its functions."""
    async with open_store(cell.config.state) as client:
        try:
            said = await ValkeyAcceptor(client).answer(Request("stock", 0, "", Describe()))
        except Unreachable:
            return None
    assert isinstance(said, Description)
    return parse(said.configuration) if said.configuration else None


async def acceptors_in(cell: Cell, regions: set[str]) -> bool:
    found = await acceptors(cell)
    return found is not None and {member.region for member in found.members} == regions


async def kept_by(cell: Cell, token: str, key: str) -> object:
    """What a session finds of `carts` in a region, which may tell it for a moment to ask another one."""
    found: list[object] = []

    async def reads() -> bool:
        with contextlib.suppress(state.RegionBehind):
            found.append(await state.namespace("carts").register(key).get())
        return bool(found)

    with entered(cell.request(token)):
        await until(reads)
    return found[0]


# --- Regions that join and leave


async def test_a_region_joins_while_the_others_write(tmp_path: Path) -> None:
    async with cells(
        tmp_path, topology="world.toml", planned=(A, B, C, D), members=(A, B, C), settings=SHORT_LOG
    ) as made:
        for number in range(60):
            await put(made[A], f"old-{number}")
        await made.settled()
        await drop(made[B], "old-0")
        traffic = Traffic(made, (A, B, C))
        await asyncio.gather(*map(traffic.more, (A, B, C)))
        await made.cut(D)
        joined = await made.add(D)
        await asyncio.gather(*map(traffic.more, (A, B, C)))
        assert not (await joined.store.statistics()).complete, "it has reached nobody"
        assert not await joined.store.digests("views"), "control: nothing gets there but by its agent"
        await made.heal()
        await until(lambda: complete(joined))
        assert joined.agent is not None
        assert sum(joined.agent.statistics()[0].watch.transfers.values()) > 0
        assert await has(joined, "old-1")
        assert not await has(joined, "old-0")
        await asyncio.gather(*map(traffic.more, (A, B, C)))
        await traffic.stop()
        await put(joined, "from the new one")
        await made.settled()
        await equal(made)
        for cell in made.cells.values():
            assert await all_of(cell) == traffic.all()
            assert await has(cell, "from the new one")
            assert not await has(cell, "old-0")


async def test_a_region_leaves_while_the_others_write(tmp_path: Path) -> None:
    stock = state.strong("stock", model=int)
    async with cells(
        tmp_path, topology="world.toml", planned=(A, B, C, D), settings=replace(SHORT_LOG, log_keep=0)
    ) as made:
        await until(lambda: acceptors_in(made[A], {A, B, C}))

        async def created() -> bool:
            with entered(made[A].request()), contextlib.suppress(state.Unavailable, state.Unknown):
                return await stock.put("sku", 20, operation="first") > 0
            return False

        await until(created)
        founded = await acceptors(made[A])
        assert founded is not None
        traffic = Traffic(made, (A, B, C, D))
        await asyncio.gather(*map(traffic.more, (A, B, C, D)))

        await made.cut(C)
        left = made[C].request()
        with entered(left):
            await state.namespace("carts").register("last").set("of the region that leaves")
        await traffic.more(C)
        await traffic.stop(C)
        assert not traffic.all() <= await all_of(made[A]) | await all_of(made[B]), (
            "control: a region that goes now takes acknowledged writes along"
        )
        await made.heal()
        await made.settled()  # what an operator waits for
        session = await made[C].token(left.session)
        await made[C].stop()

        await put(made[A], "later")
        await drop(made[A], "later")
        later = (await made[A].store.vector()).latest(A)
        assert later is not None

        def stable(region: str) -> bool:
            agent = made[region].agent
            assert agent is not None
            return agent.statistics()[0].stability.stable.covers(later)

        async def known() -> bool:
            return all([(await made[region].store.peers())[A].vector.covers(later) for region in (B, D)])

        await until(known)
        await asyncio.sleep(2 * DEFAULTS.heartbeat_s)  # for a wrong answer to show
        assert not any(map(stable, (A, B, D))), "control: everybody waits for the region that is gone"

        del made.cells[C]
        made.revise((A, B, D))

        async def collected() -> bool:
            found = [await made[region].store.statistics() for region in (A, B, D)]
            return all(map(stable, (A, B, D))) and not any(one.tombstones for one in found)

        await until(collected)
        await asyncio.gather(*map(traffic.more, (A, B, D)))
        await traffic.stop()
        await made.settled()
        await equal(made)
        for cell in made.cells.values():
            assert await all_of(cell) == traffic.all()

        assert await kept_by(made[D], session, "last") == "of the region that leaves"
        there = made[D].request(session)
        with entered(there):
            await state.namespace("carts").register("next").set("depends on it")
        token = await made[D].token(there.session)
        assert await kept_by(made[B], token, "next") == "depends on it"

        async def moved() -> bool:
            return all([await acceptors_in(made[region], {A, B, D}) for region in (A, B, D)])

        await until(moved)
        moved_to = await acceptors(made[A])
        assert moved_to is not None
        assert moved_to.epoch == founded.epoch + 2, "one comes, then one goes"
        await made.cut(A)
        await until(made[A].alone)

        async def served() -> bool:
            """By B and D alone."""
            with entered(made[D].request()), contextlib.suppress(state.Unavailable, state.Unknown):
                found = await stock.get("sku")
                assert found is not None and found.value == 20
                return await stock.put("sku", 19, operation="second") > found.version
            return False

        await until(served)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def forgetful(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cells]:
    settings = replace(DEFAULTS, log_keep=10, log_entries=50, collect_s=0.2, fence_s=4.0)
    async with cells(tmp_path_factory.mktemp("away"), settings=settings) as made:
        yield made


@pytest.mark.parametrize(
    "broken", [False, True], ids=["as it is", "control: a transfer that settles nothing"]
)
async def test_a_region_that_was_away_for_longer_than_logs_are_kept(
    forgetful: Cells, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    made, old, new = forgetful, f"old-{broken}", f"new-{broken}"
    here, away = made[A].agent, made[C].agent
    assert here is not None
    assert away is not None
    for number in range(20):
        await put(made[A], f"{old}-{number}")
    await made.settled()
    await until(lambda: complete(made[C]))
    gaps, forced = away.statistics()[0].watch.transfers["gap"], here.statistics()[0].trim.forced
    await made.cut(C)
    await put(made[C], f"{new} while away")
    for number in range(10):
        await drop(made[B], f"{old}-{number}")
    for number in range(100):
        await put(made[A], f"{new}-{number}")

    async def forgotten() -> bool:
        """The log is cut, and removals are collected, without the one that is away."""
        found = [await made[region].store.statistics() for region in (A, B)]
        return here.statistics()[0].trim.forced > forced and not any(one.tombstones for one in found)

    await until(forgotten)
    assert await has(made[C], f"{old}-0")
    if broken:

        async def nothing(self: ValkeyStore, namespace: str, bucket: int, theirs: Listing) -> int:
            return 0

        monkeypatch.setattr(ValkeyStore, "settle", nothing)
    await made.heal()
    await until(lambda: has(made[C], f"{new}-99"))
    if broken:
        assert await has(made[C], f"{old}-0")
        return
    await made.settled(40)
    await equal(made)
    assert away.statistics()[0].watch.transfers["gap"] > gaps
    for cell in made.cells.values():
        assert [await has(cell, f"{old}-{number}") for number in range(20)] == [False] * 10 + [True] * 10
        assert await has(cell, f"{new} while away")


# --- Versions beside each other


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cells]:
    async with cells(tmp_path_factory.mktemp("versions")) as made:
        yield made


Said = list[Any]


def successor(says: Callable[[Said], Said]) -> type[StateAgent]:
    """An agent that says its log in another way."""

    class Successor(StateAgent):
        async def _serve_log(self, channel: Channel) -> None:
            await self._replicator.serve(Translated(channel))

    class Translated(LogChannel):
        async def send(self, message: Wire) -> None:
            assert isinstance(message, list)
            await super().send(says(message))

    return Successor


def of_writes(change: Callable[[Said], Said]) -> Callable[[Said], Said]:
    """Changes the operations in batches, heartbeats excepted."""

    def changed(blob: bytes) -> bytes:
        parts = msgpack.unpackb(blob, raw=True, strict_map_key=False)
        packed = msgpack.packb(change(parts) if parts[1] == b"w" else parts, use_bin_type=False)
        assert isinstance(packed, bytes)
        return packed

    def says(message: Said) -> Said:
        version, kind, *fields = message
        if kind == 2:
            fields[3] = [[seq, changed(blob)] for seq, blob in fields[3]]
        return [version, kind, *fields]

    return says


@contextlib.asynccontextmanager
async def replaced(cell: Cell, kind: type[StateAgent]) -> AsyncIterator[None]:
    """The region's agent is of another kind for a while."""
    await cell.stop_agent()
    await cell.start_agent(kind)
    try:
        yield
    finally:
        await cell.stop_agent()
        await cell.start_agent()


async def arrives(cell: Cell, key: str) -> None:
    await until(lambda: has(cell, key))


@pytest.mark.parametrize(
    "says",
    [of_writes(lambda parts: [*parts, "added"]), lambda message: [2, *message[1:], "added"]],
    ids=["operation", "message"],
)
async def test_what_a_successor_adds_is_passed_over(three: Cells, says: Callable[[Said], Said]) -> None:
    async with replaced(three[A], successor(says)):
        await put(three[A], "more than we know")
        await arrives(three[B], "more than we know")
        await drop(three[B], "more than we know")
        await three.settled()


async def test_an_operation_of_a_later_version_waits_for_a_store_that_reads_it(
    three: Cells, caplog: pytest.LogCaptureFixture
) -> None:
    async with replaced(three[A], successor(of_writes(lambda parts: [2, *parts[1:], "added"]))):
        await put(three[A], "of tomorrow")

        async def said() -> bool:
            return "newer version than this region's store reads" in caplog.text

        await until(said)
        await put(three[B], "of today")
        await arrives(three[C], "of today")
        await arrives(three[A], "of today")
        assert not await has(three[B], "of tomorrow")
        for region in (B, C):
            library = state_library()
            reads = library.code.replace(
                "operation[1] ~= 1 then", "(operation[1] ~= 1 and operation[1] ~= 2) then"
            )
            assert reads != library.code
            await load(three[region].store.calls, Library(library.name, reads))
        await arrives(three[B], "of tomorrow")
        await arrives(three[C], "of tomorrow")
        await three.settled()
    for region in (B, C):
        await load(three[region].store.calls, state_library())
    await three.settled(30)


async def test_a_message_two_versions_ahead_ends_the_link_and_loses_nothing(
    three: Cells, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "atoll.state.replication")
    async with replaced(three[A], successor(lambda message: [3, *message[1:]])):
        await put(three[A], "in other words")

        async def said() -> bool:
            reasons = [vars(record).get("reason", "") for record in caplog.records]
            return any("version 3; this agent knows 1 and its successor" in reason for reason in reasons)

        await until(said)
        assert not await has(three[B], "in other words")
        await put(three[B], "others go on")
        await arrives(three[C], "others go on")
    await arrives(three[B], "in other words")
    await three.settled()


async def test_a_hello_goes_down_to_what_both_speak_or_is_refused(three: Cells) -> None:
    secret = SECRET.encode()
    chosen: list[Wire] = []

    async def read(reader: asyncio.StreamReader) -> Wire:
        return unpack(await reader.readexactly(length_of(await reader.readexactly(LENGTH.size))))

    def server(versions: list[int]) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            own = hello.nonce()
            writer.write(pack(["atoll", [*versions], own]))
            with contextlib.suppress(asyncio.IncompleteReadError):
                words = await read(reader)
                said, proof = hello.judge(words, secret, own, ("log",))
                chosen.append(said.version)
                writer.write(pack(hello.welcome(D, proof)))
                await reader.read()
            writer.close()

        return serve

    async with (
        await asyncio.start_server(server([1, 2]), "127.0.0.1", port := free_port()),
        await open_channel(Address("127.0.0.1", port), secret, A, "log"),
    ):
        assert chosen == [1]
    async with await asyncio.start_server(server([2]), "127.0.0.1", port := free_port()):
        with pytest.raises(HelloRefused, match=r"speaks the versions \[2\], this side \[1\]; upgrade"):
            await open_channel(Address("127.0.0.1", port), secret, A, "log")

    listen = three[A].config.listen
    reader, writer = await asyncio.open_connection(listen.host, listen.port)
    match await read(reader):
        case ("atoll", _, bytes() as theirs):
            own = hello.nonce()
            told = b"|".join((b"client", theirs, own, b"2", D.encode(), b"log"))
            writer.write(pack(["hello", 2, D, "log", own, hmac.digest(secret, told, hashlib.sha256)]))
    refused = await read(reader)
    assert isinstance(refused, tuple)
    assert refused == ("refused", "version 2 is not spoken here, but [1]; upgrade the older side")
    writer.close()
    await put(three[A], "after the refusal")
    await arrives(three[B], "after the refusal")


def token(version: str, needs: Vector) -> str:
    """As a successor may write it: with something behind what there is today."""

    def text(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    content = f"{version}.{text(msgpack.packb(dict(needs)) + msgpack.packb('added'))}"
    mac = hmac.digest(b"sessions-of-tests", content.encode(), hashlib.sha256)[:16]
    return f"{content}.{text(mac)}"


async def test_a_session_of_a_successor_is_kept(three: Cells) -> None:
    carts = state.namespace("carts")
    await three.settled()
    await three.cut(C)
    try:
        here = three[A].request()
        with entered(here):
            await carts.register("newest").set(1)
        needs = here.session.needs()
        with entered(three[C].request(token("2", needs))), pytest.raises(state.RegionBehind):
            await carts.register("newest").get()
        with entered(three[C].request(token("3", needs))):
            assert await carts.register("newest").get() is None, "control: who asks for nothing is shown less"
    finally:
        await three.heal()
    await three.settled()
    with entered(three[C].request(token("2", needs))):
        assert await carts.register("newest").get() == 1


@pytest.mark.parametrize("checked", [True, False], ids=["as it is", "control: without the check"])
async def test_an_agent_refuses_a_namespace_that_would_move_to_another_level(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    caplog.set_level(logging.INFO, "atoll.agent.state")
    if not checked:
        monkeypatch.setattr("atoll.agent.state.check_namespaces", lambda *_: None)
    config = agent_config(tmp_path)
    carts = TOPOLOGY + '[namespaces.carts]\nlevel = "{level}"\n'
    before = parse_topology(carts.format(revision=1, level="session"))
    agent = StateAgent(config, SECRET.encode(), before, SystemClock(), Random())
    config.topology_file.write_text(carts.format(revision=2, level="eventual"))
    running = asyncio.create_task(agent.run())
    try:

        async def said(word: str = "refused" if checked else "taken up") -> bool:
            return any(f"topology {word}" in record.message for record in caplog.records)

        await until(said)
        assert (agent.topology is before) is checked
        if checked:
            reasons = [vars(record)["reason"] for record in caplog.records if "refused" in record.message]
            assert "namespaces.carts would move from level 'session' to level 'eventual'" in reasons[0]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await agent.close()
