"""Gateways that forward over mutual TLS: who is let in, and certificates that change under traffic."""

import asyncio
import contextlib
import functools
import logging
import socket
import ssl
import sys
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from tests.integration.gateways import TOKEN, Replica, client, until
from tests.integration.ports import free_port
from tests.integration.secured import FAR, NEAR, Pair, files_of, on_both_loops, on_uvloop, pair
from tests.tls_files import DOMAIN, Signer, write_tls
from tests.unit.agent_alone import agent_config

from atoll.agent.config import write_agent_config
from atoll.certificates import Issued
from atoll.clock import SystemClock
from atoll.tls import CellTls, Role, Serving, TlsListener
from atoll.topology.wiring import Address, TlsFiles, write_gateway_wiring, write_private
from atoll_gateway.http.limits import Limits
from atoll_gateway.http.server import HttpServer

HELLO = (
    b"POST /-/peer/hello HTTP/1.1\r\nhost: peer\r\nauthorization: Bearer %b\r\natoll-peer: %b\r\n"
    b"content-length: 0\r\n\r\n"
)


@on_both_loops
async def test_requests_cross_the_link_and_the_pool_is_used_again(tmp_path: Path) -> None:
    async with pair(tmp_path, files_of(tmp_path, Signer.new())) as both, client() as http:
        await until(both.healthy)
        big = bytes(range(256)) * 1000
        for _ in range(20):
            answer = await http.post(f"{both.near.wiring.public.url}/shop/mirror", content=big)
            assert (answer.status_code, answer.headers["atoll-region"]) == (200, FAR)
            assert answer.content == big
        streamed = await http.get(f"{both.near.wiring.public.url}/shop/stream")
        assert streamed.text == "0\n1\n2\n3\n4\n"
        (peer,) = both.near.peers.of(FAR)
        statistics = peer.upstream.statistics()
        assert (statistics.requests, statistics.connects) == (21, 1)


async def say_hello(both: Pair, context: ssl.SSLContext | None, name: str, token: str = TOKEN) -> bytes:
    """The first line that `FAR` answers to a hello; nothing if the connection ends without one."""
    address = both.far.wiring.peer
    assert address is not None
    with contextlib.suppress(OSError):  # an alert of TLS, or the reset that follows it
        reader, writer = await asyncio.open_connection(
            address.host,
            address.port,
            ssl=context,
            server_hostname=None if context is None else f"gateways.{FAR}.{DOMAIN}",
        )
        writer.write(HELLO % (token.encode(), name.encode()))
        try:
            return await asyncio.wait_for(reader.readline(), 10.0)
        finally:
            writer.transport.abort()
    return b""


def client_context(files: TlsFiles | None, authorities: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authorities.decode())
    if files is not None:
        context.load_cert_chain(files.cert, files.key)
    return context


@on_both_loops
async def test_who_is_let_in_and_who_is_not(tmp_path: Path) -> None:
    signer = Signer.new()
    name = f"{NEAR}/gateway-1"
    async with pair(tmp_path, files_of(tmp_path, signer)) as both:

        def showing(issued: Issued) -> ssl.SSLContext:
            return client_context(write_tls(tmp_path / "shown", issued, b""), signer.certificate)

        good = showing(signer.issue(NEAR))
        old = showing(signer.issue(NEAR))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert b" 200 " in await say_hello(both, good, name)
        assert b" 200 " in await say_hello(both, showing(signer.issue(FAR)), f"{FAR}/gateway-2"), "a sibling"
        assert b" 401 " in await say_hello(both, good, name, "another-token-altogether"), "both are asked for"
        assert b" 403 " in await say_hello(both, good, f"{FAR}/gateway-1"), "another region than it says"
        assert b" 403 " in await say_hello(both, good, ""), "no region is said"
        assert b" 403 " in await say_hello(both, showing(signer.issue("mars")), "mars/gateway-1"), (
            "no region here"
        )
        assert not await say_hello(both, client_context(None, signer.certificate), name), "no certificate"
        assert not await say_hello(both, showing(Signer.new().issue(NEAR)), name), "a foreign authority"
        assert not await say_hello(both, showing(signer.expired(NEAR)), name), "it has ended"
        assert not await say_hello(both, old, name), "TLS 1.2"
        assert not await say_hello(both, None, name), "in clear"
        assert b" 200 " in await say_hello(both, good, name)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("foreign", "CERTIFICATE_VERIFY_FAILED|certificate verify failed"),
        ("region", "not valid for 'gateways.eu-west.atoll.test'"),
    ],
)
async def test_a_gateway_does_not_talk_to_a_server_that_is_not_the_one(
    tmp_path: Path, spoil: str, reason: str
) -> None:
    """Whoever has taken `FAR`'s address has a certificate of another authority, or of another region."""
    signer = Signer.new()
    files = files_of(tmp_path, signer)
    impostor = Signer.new().issue(FAR) if spoil == "foreign" else signer.issue(NEAR)
    shown = write_tls(tmp_path / "impostor", impostor, signer.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.cert, shown.key)
    heard = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(1000))
        writer.close()

    async with pair(tmp_path, files) as both:
        server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
        (peer,) = both.near.peers.of(FAR)
        upstream = both.near._to_peer(peer.gateway)
        upstream._port = server.sockets[0].getsockname()[1]
        with pytest.raises(Exception, match=reason):
            await upstream.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", None, method="GET")
        upstream.close()
        assert not heard, "neither the token nor a request is shown to it"
        server.close()


async def test_a_region_whose_name_does_not_fit_its_certificate_gets_no_link(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with pair(
        tmp_path, files_of(tmp_path, Signer.new()), names={NEAR: "ap-northeast/gateway-1"}
    ) as both:
        await until(lambda: any(record.msg == "a peer is refused" for record in caplog.records))
        (record, *_) = [record for record in caplog.records if record.msg == "a peer is refused"]
        assert "ap-northeast/gateway-1, and its certificate is of us-east" in record.__dict__["reason"]
        assert not both.near.peers.of(FAR)[0].health.healthy


# --- handshakes that stall


@on_both_loops
async def test_stalled_handshakes_keep_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll_gateway.http.server.TlsListener", functools.partial(TlsListener, handshakes=8))
    async with pair(tmp_path, files_of(tmp_path, Signer.new())) as both, client() as http:
        await until(both.healthy)
        address = both.far.wiring.peer
        assert address is not None
        stalled = []
        for _ in range(40):
            one = await asyncio.get_running_loop().run_in_executor(
                None, socket.create_connection, (address.host, address.port)
            )
            stalled.append(one)
        both.near.peers.of(FAR)[0].upstream._close_idle()  # the next request needs another handshake
        assert (await http.get(both.url)).status_code == 200
        ended = 0
        for one in stalled:
            one.settimeout(0.5)
            with contextlib.suppress(TimeoutError, ConnectionResetError):
                ended += not one.recv(1)
                continue
        assert ended >= len(stalled) - 8
        for one in stalled:
            one.close()


@on_both_loops
async def test_a_stalled_handshake_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "atoll_gateway.http.server.TlsListener", functools.partial(TlsListener, handshake_s=0.3)
    )
    async with pair(tmp_path, files_of(tmp_path, Signer.new())) as both:
        address = both.far.wiring.peer
        assert address is not None
        reader, writer = await asyncio.open_connection(address.host, address.port)
        async with asyncio.timeout(60.0):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()


# --- certificates that change


class Traffic:
    """Asks all the time, and keeps what was answered."""

    def __init__(self, url: str, clients: int = 4) -> None:
        self._url = url
        self._clients = clients
        self.statuses: list[int] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def _ask(self) -> None:
        async with client() as http:
            while True:
                self.statuses.append((await http.get(self._url)).status_code)
                await asyncio.sleep(0.01)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(self._clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def failed(self) -> list[int]:
        return [status for status in self.statuses if status != 200]


@pytest.fixture
def short_lived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that are soon replaced."""
    monkeypatch.setattr("atoll_gateway.gateway.CellTls", functools.partial(CellTls, max_age_s=0.2))


LASTING_S = 4.0


async def _renewing(both: Pair, signer: Signer) -> None:
    while True:
        for region, files in both.files.items():
            write_tls(files.cert.parent, signer.issue(region, LASTING_S), signer.certificate)
        await asyncio.sleep(1.0)


@pytest.mark.parametrize("renewed", [True, False])
async def test_certificates_that_end_under_traffic_are_missed_by_nobody_if_they_are_renewed(
    tmp_path: Path, short_lived: None, monkeypatch: pytest.MonkeyPatch, renewed: bool
) -> None:
    """The control: the same without taking up what is renewed fails once the first ones have ended."""
    if not renewed:
        monkeypatch.setattr(CellTls, "poll", lambda self: None)
    signer = Signer.new()
    files = {
        region: write_tls(tmp_path / region, signer.issue(region, LASTING_S), signer.certificate)
        for region in (NEAR, FAR)
    }
    async with pair(tmp_path, files) as both:
        await until(both.healthy)
        renewing = asyncio.create_task(_renewing(both, signer))
        async with Traffic(both.url) as traffic:
            await asyncio.sleep(LASTING_S + 1.5)
            asked = len(traffic.statuses)
            await until(lambda: len(traffic.statuses) > asked + 10)
        renewing.cancel()
        statistics = [
            gateway.tls.statistics() for gateway in (both.near, both.far) if gateway.tls is not None
        ]
        if renewed:
            assert traffic.failed == []
            assert all(one.taken >= 2 and one.refused == 0 for one in statistics)
            (peer,) = both.near.peers.of(FAR)
            assert peer.upstream.statistics().connects >= 10, "connections are replaced at their age"
        else:
            assert traffic.failed


async def test_one_authority_takes_anothers_place_under_traffic(
    tmp_path: Path, short_lived: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the runbook's order: trust both, issue from the new one, forget the old one. One region after the other."""
    old, new = Signer.new(), Signer.new()
    files = files_of(tmp_path, old)
    async with pair(tmp_path, files) as both:
        await until(both.healthy)
        async with Traffic(both.url) as traffic:
            for step in ("trust", "issue", "forget"):
                for number, gateway in enumerate((both.near, both.far)):
                    region = (NEAR, FAR)[number]
                    assert gateway.tls is not None
                    taken = gateway.tls.statistics().taken
                    match step:
                        case "trust":
                            write_private(files[region].ca, new.certificate + old.certificate)
                        case "issue":
                            write_tls(
                                files[region].cert.parent,
                                new.issue(region),
                                new.certificate + old.certificate,
                            )
                        case _:
                            write_private(files[region].ca, new.certificate)
                    await until(lambda tls=gateway.tls, taken=taken: tls.statistics().taken > taken)  # type: ignore[misc]
                asked = len(traffic.statuses)
                await until(lambda asked=asked: len(traffic.statuses) > asked + 10)  # type: ignore[misc]
        assert traffic.failed == []
        late = write_tls(tmp_path / "late", old.issue(NEAR), b"")
        context = client_context(late, new.certificate + old.certificate)
        assert not await say_hello(both, context, f"{NEAR}/gateway-1"), "the old authority counts no more"


async def test_the_wrong_order_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A certificate of an authority that the own bundle doesn't have is not taken up: the link stays."""
    files = files_of(tmp_path, Signer.new())
    async with pair(tmp_path, files) as both, client() as http:
        await until(both.healthy)
        write_private(files[FAR].cert, (issued := Signer.new().issue(FAR)).certificate)
        write_private(files[FAR].key, issued.key)
        tls = both.far.tls
        assert tls is not None
        await until(lambda: tls.statistics().refused == 1)
        assert "would be refused by peers" in str(tls.statistics().error)
        assert any(record.levelno == logging.WARNING and "refused" in record.msg for record in caplog.records)
        assert (await http.get(both.url)).status_code == 200


# --- what operators see


async def test_operators_see_when_the_certificate_ends(tmp_path: Path) -> None:
    async with pair(tmp_path, files_of(tmp_path, Signer.new())) as both, client() as http:
        await until(both.healthy)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        admin = both.near.wiring.admin.url
        metrics = (await http.get(f"{admin}/-/metrics", headers=headers)).text
        assert "\natoll_certificate_expires_timestamp_seconds " in metrics
        certificate = (await http.get(f"{admin}/-/regions", headers=headers)).json()["certificate"]
        assert certificate["names"] == ["gateways.us-east.atoll.test", "agent.us-east.atoll.test"]
        assert 29 < certificate["days_left"] < 31
        public = await http.get(f"{both.near.wiring.public.url}/-/readyz")
        assert public.status_code == 200, "clients are served in clear, TLS for them is the load balancer's"


@pytest.mark.parametrize("module", ["atoll_gateway", "atoll.agent"])
async def test_a_process_that_would_talk_in_clear_over_a_network_does_not_start(
    tmp_path: Path, module: str
) -> None:
    abroad = Address("0.0.0.0", free_port())
    file = tmp_path / "wiring.json"
    if module == "atoll.agent":
        write_agent_config(file, replace(agent_config(tmp_path), listen=abroad))
        words = ["--config", str(file)]
    else:
        async with pair(tmp_path, {}) as both:
            write_gateway_wiring(file, replace(both.near.wiring, peer=abroad))
        words = ["--wiring", str(file)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert (process.returncode, output) == (2, b"")
    assert f"in clear over a network, at {abroad}".encode() in errors
    assert b"Traceback" not in errors


# --- ends of connections, which TLS has its own way with


def _serving(tmp_path: Path) -> tuple[Serving, ssl.SSLContext]:
    signer = Signer.new()
    files = files_of(tmp_path, signer)
    tls = CellTls(files[FAR], Role.GATEWAYS, FAR, SystemClock()).serving(lambda: (NEAR, FAR))
    return tls, client_context(files[NEAR], signer.certificate)


@on_both_loops
async def test_a_drain_lets_a_running_request_finish(tmp_path: Path) -> None:
    replica = Replica(FAR)
    server = HttpServer(replica)
    tls, context = _serving(tmp_path)
    await server.start(tls=tls)
    host, port = server.address
    name = f"gateways.{FAR}.{DOMAIN}"
    idle = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    writer.write(b"GET /hold HTTP/1.1\r\nhost: a\r\n\r\n")
    await replica.arrived.wait()
    draining = asyncio.create_task(server.drain(20.0, idle_grace_s=0.1))
    async with asyncio.timeout(60.0):
        assert await idle[0].read() == b""
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    replica.held.set()
    answer = await reader.read()
    assert b" 200 " in answer and b"connection: close" in answer.lower() and answer.endswith(FAR.encode())
    assert await draining, "nothing was cut"
    for closing in (writer, idle[1]):
        closing.close()


@on_uvloop
async def test_a_refusal_arrives_though_the_body_is_still_being_sent(tmp_path: Path) -> None:
    """On asyncio's own loop it may be lost to a reset: its TLS takes data after a goodbye for an error."""
    server = HttpServer(Replica(FAR), limits=Limits(body_bytes=10_000))
    tls, context = _serving(tmp_path)
    await server.start(tls=tls)
    host, port = server.address
    reader, writer = await asyncio.open_connection(
        host, port, ssl=context, server_hostname=f"gateways.{FAR}.{DOMAIN}"
    )
    writer.write(b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 3000000\r\n\r\n" + bytes(3_000_000))
    async with asyncio.timeout(60.0):
        assert b" 413 " in await reader.read()
    writer.close()
    await server.close()
