"""Channels and agents over mutual TLS: who is let in, connections that age, and state that is replicated."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.integration.ports import free_port
from tests.integration.secured import FAR, NEAR, files_of, on_both_loops
from tests.integration.state_cells import cells, until
from tests.tls_files import Signer, write_tls

from atoll import state
from atoll.channel import Answerer, Caller, Channel, NotSent, Wire, open_channel, serve_channels
from atoll.channel.channel import Serve
from atoll.clock import SystemClock
from atoll.state.sdk.scope import entered
from atoll.tls import Calling, CellTls, Role, Serving
from atoll.topology.wiring import Address, TlsFiles

SECRET = b"a deployment's secret"
FRESH_S = 0.3
"""Age of connections, where a test is about that."""
CUT_S = 7.0
"""When who serves cuts a connection off: later than any call takes."""


class Ageing(CellTls):
    """Who calls lets go of a connection again and again, while calls are under way; logs are cut off once."""

    def calling(self, role: Role, region: str) -> Calling:
        return replace(super().calling(role, region), max_age_s=FRESH_S)

    def serving(self, known: Callable[[], Collection[str]]) -> Serving:
        return replace(super().serving(known), max_age_s=CUT_S)


@dataclass(slots=True)
class Ends:
    """A server of `FAR`, and what a client of `NEAR` calls it with."""

    address: Address
    far: CellTls
    near: CellTls
    files: Mapping[str, TlsFiles]
    signer: Signer

    def caller(self, name: str = NEAR, tls: CellTls | None = None) -> Caller:
        calling = (tls or self.near).calling(Role.AGENT, FAR)
        return Caller(self.address, SECRET, name, tls=calling)


@contextlib.asynccontextmanager
async def serving(
    folder: Path, purposes: Mapping[str, Serve], *, near_age_s: float = 3600.0, far_age_s: float = 3600.0
) -> AsyncIterator[Ends]:
    signer = Signer.new()
    files = files_of(folder, signer)
    far = CellTls(files[FAR], Role.AGENT, FAR, SystemClock(), max_age_s=far_age_s)
    near = CellTls(files[NEAR], Role.AGENT, NEAR, SystemClock(), max_age_s=near_age_s)
    address = Address("127.0.0.1", free_port())
    tls = far.serving(lambda: (NEAR, FAR))
    async with await serve_channels(address, SECRET, FAR, purposes, tls=tls):
        yield Ends(address, far, near, files, signer)


async def _double(peer: str, body: Wire) -> Wire:
    assert isinstance(body, bytes)
    return [peer, body * 2]


async def _echo(channel: Channel) -> None:
    while True:
        await channel.send(await channel.receive())


@on_both_loops
async def test_calls_and_streams_go_through(tmp_path: Path) -> None:
    async with serving(tmp_path, {"calls": Answerer({"double": _double}), "echo": _echo}) as ends:
        caller = ends.caller(f"{NEAR}/replica")
        big = bytes(1_000_000)
        answers = await asyncio.gather(*(caller.call("double", big, 20.0) for _ in range(8)))
        assert answers == [(f"{NEAR}/replica", big * 2)] * 8
        await caller.close()
        toward = ends.near.calling(Role.AGENT, FAR).toward()
        async with await open_channel(ends.address, SECRET, NEAR, "echo", tls=toward) as channel:
            for number in range(100):
                await channel.send(number)
            assert [await channel.receive() for _ in range(100)] == list(range(100))


@on_both_loops
async def test_who_is_let_in_and_who_is_not(tmp_path: Path) -> None:
    async with serving(tmp_path, {"calls": Answerer({"double": _double})}) as ends:

        async def why(caller: Caller, within_s: float = 10.0) -> str:
            with pytest.raises(NotSent) as refused:
                await caller.call("double", b"x", within_s)
            await caller.close()
            return str(refused.value)

        def of(signer: Signer, region: str) -> CellTls:
            files = write_tls(tmp_path / "shown", signer.issue(region), signer.certificate)
            return CellTls(files, Role.AGENT, region, SystemClock())

        assert "its certificate is of us-east" in await why(ends.caller(FAR))
        assert "no region here" in await why(ends.caller("mars", of(ends.signer, "mars")))
        assert "certificate verify failed" in await why(ends.caller(tls=of(Signer.new(), NEAR)))
        clear = Caller(ends.address, SECRET, NEAR)
        assert "can't be reached" in await why(clear, 0.5)
        elsewhere = Caller(ends.address, SECRET, NEAR, tls=ends.near.calling(Role.AGENT, "ap-northeast"))
        assert "not valid for 'agent.ap-northeast.atoll.test'" in await why(elsewhere)
        as_gateway = Caller(ends.address, b"another", NEAR, tls=ends.near.calling(Role.AGENT, FAR))
        assert "does not know this deployment's secret" in await why(as_gateway)


@on_both_loops
async def test_who_is_refused_for_its_certificate_learns_why(tmp_path: Path) -> None:
    """In TLS 1.3 the client's handshake is over before the server has looked at its certificate."""
    async with serving(tmp_path, {"calls": Answerer({"double": _double})}) as ends:
        foreign = write_tls(tmp_path / "foreign", Signer.new().issue(NEAR), b"")
        context = ends.near.calling(Role.AGENT, FAR).toward().context
        context.load_cert_chain(foreign.cert, foreign.key)
        with pytest.raises(NotSent, match=r"(?i)alert.unknown.ca|can't be reached"):
            await ends.caller().call("double", b"x", 10.0)


@on_both_loops
async def test_a_call_that_is_under_way_outlives_its_connections_age(tmp_path: Path) -> None:
    held = asyncio.Event()
    peers: set[int] = set()

    async def slow(peer: str, body: Wire) -> Wire:
        await held.wait()
        return body

    async def fast(peer: str, body: Wire) -> Wire:
        return body

    async def counted(channel: Channel) -> None:
        peers.add(id(channel))
        await Answerer({"slow": slow, "fast": fast})(channel)

    async with serving(tmp_path, {"calls": counted}, near_age_s=FRESH_S) as ends:
        caller = ends.caller()
        waiting = asyncio.create_task(caller.call("slow", "under way", 30.0))
        assert await caller.call("fast", 1, 10.0) == 1
        assert len(peers) == 1
        await asyncio.sleep(FRESH_S)
        assert await caller.call("fast", 2, 10.0) == 2
        async with asyncio.timeout(60.0):
            while len(peers) < 2:
                await asyncio.sleep(0.01)
        assert await caller.call("fast", 3, 10.0) == 3
        held.set()
        assert await waiting == "under way"
        assert len(caller._lines) <= 2, "old ones are closed once nobody waits on them"
        await caller.close()
        assert not caller._lines


@on_both_loops
async def test_no_call_is_lost_to_connections_that_age(tmp_path: Path) -> None:
    async with serving(
        tmp_path, {"calls": Answerer({"double": _double})}, near_age_s=0.05, far_age_s=5.0
    ) as ends:
        caller = ends.caller()

        async def many() -> None:
            for _ in range(100):
                assert await caller.call("double", b"x", 20.0) == (NEAR, b"xx")
                await asyncio.sleep(0.005)

        await asyncio.gather(*(many() for _ in range(4)))
        await caller.close()


@on_both_loops
async def test_a_connection_that_can_not_be_renewed_is_used_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, {"calls": Answerer({"double": _double})}, near_age_s=0.0) as ends:
        caller = ends.caller()
        assert await caller.call("double", b"x", 10.0) == (NEAR, b"xx")
        line = caller._line
        assert line is not None
        caller._address = Address("127.0.0.1", free_port())
        line.renew_at = 0.0
        async with asyncio.timeout(60.0):
            while "a connection can't be renewed" not in caplog.messages:
                assert await caller.call("double", b"x", 10.0) == (NEAR, b"xx")
        await caller.close()


@on_both_loops
async def test_who_does_not_let_go_by_itself_is_cut_off(tmp_path: Path) -> None:
    """A stream, or a client that keeps an old connection for ever."""
    async with serving(tmp_path, {"echo": _echo}, far_age_s=FRESH_S) as ends:
        toward = ends.near.calling(Role.AGENT, FAR).toward()
        async with await open_channel(ends.address, SECRET, NEAR, "echo", tls=toward) as channel:
            await channel.send("still there")
            assert await channel.receive() == "still there"
            async with asyncio.timeout(60.0):
                with pytest.raises(ConnectionError):
                    await channel.receive()


async def test_agents_replicate_and_commit_while_certificates_are_renewed_and_connections_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three agents with stores and links. Replicas reach their agent with TLS too, for strong writes."""
    for module in ("atoll.agent.state", "atoll.state.sdk.access"):
        monkeypatch.setattr(f"{module}.CellTls", Ageing)
    signer = Signer.new()
    regions = ("eu-west", "eu-central", "us-east")
    files = {
        region: write_tls(tmp_path / "tls" / region, signer.issue(region), signer.certificate)
        for region in regions
    }
    views, stock = state.namespace("views"), state.strong("stock", model=int)
    async with cells(tmp_path, tls=files) as three:

        async def founded() -> bool:
            with entered(three["us-east"].request()):
                try:
                    await stock.get("sku")
                except state.Unavailable:
                    return False
                return True

        async def renewed() -> bool:
            found = [cell.agent.certificate for cell in three.cells.values() if cell.agent is not None]
            return all(one is not None and one.taken == 1 for one in found)

        async def renew() -> None:
            for region in regions:
                write_tls(tmp_path / "tls" / region, signer.issue(region), signer.certificate)
            await until(renewed)

        await until(founded)
        renewing = asyncio.create_task(renew())
        written = 0
        end = asyncio.get_running_loop().time() + CUT_S
        while not renewing.done() or asyncio.get_running_loop().time() < end:
            written += 1
            with entered(three["us-east"].request()):
                await stock.update("sku", lambda count: (count or 0) + 1)
                await views.counter("seen").add(1)
        await renewing
        await three.settled()
        for region in regions:
            with entered(three[region].request()):
                assert await views.counter("seen").value() == written
        with entered(three["eu-central"].request()):
            found = await stock.get("sku")
        assert found is not None and found.value == written
