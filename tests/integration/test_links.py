"""The links on real sockets: latency, cuts that are silent, refusals, losses, throttling, and the process."""

import asyncio
import hashlib
import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ParamSpec

import pytest
import uvloop
from tests.integration.ports import free_port

from atoll.cell.links.config import (
    LinksConfig,
    LinksConfigError,
    RelayConfig,
    read_links_config,
    write_links_config,
)
from atoll.cell.links.control import LinksClient, serve_control
from atoll.cell.links.door import DoorState
from atoll.cell.links.network import Network, Selection
from atoll.cell.links.shape import WINDOW_BYTES, DirectionStatistics, Shape
from atoll.clock import Clock, SystemClock
from atoll.rpc import Client, Document, RpcError

HOST = "127.0.0.1"
SILENCE_S = 0.3
"""How long nothing must come for a link to count as silent; many times what the healthy link takes."""

LIMIT_S = 60.0
"""A bound for what must happen; far above what it takes, so that only a fault reaches it."""

GREETING = b"hello\n"


P = ParamSpec("P")


def on_uvloop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """Runs a test on the loop that the links process runs on."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        uvloop.run(test(*args, **kwargs))

    return run


class Target:
    """A gateway's stand-in: greets, echoes what it gets, and says bye at the end.

    ``endings`` tells how the connections ended that said something, so not the relay's probes.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.writers: set[asyncio.StreamWriter] = set()
        self.endings: asyncio.Queue[str] = asyncio.Queue()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)

    async def kill(self) -> None:
        """What the kernel does for a killed process: the port refuses, the connections are reset."""
        assert self._server is not None
        self._server.close()
        self._server = None
        for writer in self.writers:
            abort(writer)
        self.writers.clear()

    async def close(self) -> None:
        if self._server is not None:
            await self.kill()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        ending, spoken = "fin", False
        try:
            writer.write(GREETING)
            while data := await reader.read(65536):
                spoken = True
                writer.write(data)
                await writer.drain()
            if spoken:
                writer.write(b"bye\n")
        except ConnectionError:
            ending = "reset"
        finally:
            self.writers.discard(writer)
            writer.close()
        if spoken:
            self.endings.put_nowait(ending)


def abort(writer: asyncio.StreamWriter) -> None:
    """Closes with a reset."""
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


@dataclass
class StoppableClock:
    """The machine's clock, until it is stopped: then nothing that is in flight arrives."""

    stopped_at: float | None = None

    def monotonic(self) -> float:
        return time.monotonic() if self.stopped_at is None else self.stopped_at

    def wall(self) -> float:
        return time.time()


@dataclass
class World:
    """One link, ``west`` to ``east``, and a target at its far end."""

    network: Network
    target: Target
    port: int

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that counts as open: the far side has said so."""
        async with asyncio.timeout(LIMIT_S):
            reader, writer = await asyncio.open_connection(HOST, self.port)
            assert await reader.readline() == GREETING
            writer.write(b"here\n")
            assert await reader.readline() == b"here\n"
        return reader, writer

    async def cut(self, source: str, destination: str, both_ways: bool = False) -> None:
        selection = Selection(source, destination, both_ways)
        await self.network.reshape(selection, lambda shape: replace(shape, cut=True))

    async def heal(self) -> None:
        await self.network.heal(Selection())

    def state(self) -> DoorState:
        return self.network.statistics().relays[0].state

    async def until_open(self) -> None:
        await until(lambda: self.state() is DoorState.OPEN)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def silent(awaitable: Awaitable[object]) -> bool:
    """Whether nothing comes of it for a while."""
    try:
        async with asyncio.timeout(SILENCE_S):
            await awaitable
    except TimeoutError:
        return True
    return False


async def try_connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(HOST, port)


@asynccontextmanager
async def world(
    rtt_ms: float = 0.0, jitter_ms: float = 0.0, up: bool = True, clock: Clock | None = None
) -> AsyncIterator[World]:
    target, port = Target(), free_port()
    if up:
        await target.start()
    relay = RelayConfig("west", "east", port, HOST, target.port, rtt_ms, jitter_ms)
    network = Network(LinksConfig(Path("unused"), (relay,)), clock or SystemClock())
    network.start()
    made = World(network, target, port)
    try:
        if up:
            await made.until_open()
        yield made
    finally:
        await network.close()
        await target.close()


@on_uvloop
async def test_bytes_and_handshake_pay_the_latency() -> None:
    async with world(rtt_ms=80) as w:
        before = time.monotonic()
        reader, writer = await w.connect()
        assert time.monotonic() - before >= 0.16  # SYN and greeting, then word and answer
        before = time.monotonic()
        writer.write(b"ping\n")
        assert await reader.readline() == b"ping\n"
        assert time.monotonic() - before >= 0.08
        writer.close()


@on_uvloop
async def test_the_first_bytes_wait_for_the_handshake() -> None:
    async with world(rtt_ms=100) as w:
        before = time.monotonic()
        reader, writer = await try_connect(w.port)
        writer.write(b"ping\n")
        assert await reader.readline() == GREETING
        assert await reader.readline() == b"ping\n"
        assert time.monotonic() - before >= 0.2
        writer.close()


@pytest.mark.parametrize(("rtt_ms", "jitter_ms"), [(0, 0), (20, 0), (4, 10)])
@on_uvloop
async def test_a_large_transfer_arrives_intact_and_half_closed(rtt_ms: float, jitter_ms: float) -> None:
    payload = random.Random(1).randbytes(8 << 20)
    async with world(rtt_ms, jitter_ms) as w, asyncio.timeout(LIMIT_S):
        reader, writer = await w.connect()

        async def send() -> None:
            for start in range(0, len(payload), 100_000):
                writer.write(payload[start : start + 100_000])
                await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        echoed = await reader.read()  # until the target's FIN, after ours
        await sending
        assert hashlib.sha256(echoed).digest() == hashlib.sha256(payload + b"bye\n").digest()
        writer.close()
        await until(lambda: w.network.statistics().relays[0].connections == 0)


@on_uvloop
async def test_buffering_is_bounded() -> None:
    async with world(rtt_ms=2) as w:
        _, writer = await w.connect()  # and never reads again
        with suppress(TimeoutError):
            async with asyncio.timeout(SILENCE_S * 3):
                while True:
                    writer.write(bytes(1 << 20))
                    await writer.drain()
        for direction in w.network.statistics().directions.values():
            assert direction.bytes_waiting + direction.bytes_in_flight <= WINDOW_BYTES + (256 << 10)
        abort(writer)
        assert await asyncio.wait_for(w.target.endings.get(), LIMIT_S) == "reset"


CUTS = [("west", "east", True), ("west", "east", False), ("east", "west", False)]


@pytest.mark.parametrize(("source", "destination", "both_ways"), CUTS)
@on_uvloop
async def test_new_connects_hang_while_cut_and_work_after_the_heal(
    source: str, destination: str, both_ways: bool
) -> None:
    async with world(rtt_ms=10) as w:
        await w.cut(source, destination, both_ways)
        assert w.state() is DoorState.HANGING
        assert await silent(try_connect(w.port))
        waiting = asyncio.create_task(w.connect())  # its SYNs are dropped until the heal
        assert await silent(asyncio.shield(waiting))
        await w.heal()
        _, writer = await w.connect()
        writer.close()
        _, writer = await waiting
        writer.close()
        assert w.network.statistics().relays[0].connections <= 3


@on_uvloop
async def test_a_blocking_connect_times_out_while_cut() -> None:
    async with world() as w:
        await w.cut("west", "east")

        def connect(timeout_s: float) -> None:
            socket.create_connection((HOST, w.port), timeout=timeout_s).close()

        for _ in range(5):
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(connect, SILENCE_S)
        await w.heal()
        await asyncio.to_thread(connect, LIMIT_S)


@on_uvloop
async def test_a_cut_both_ways_silences_open_connections_and_the_heal_loses_nothing() -> None:
    clock = StoppableClock()
    async with world(rtt_ms=40, clock=clock) as w, asyncio.timeout(LIMIT_S):

        def eastward() -> DirectionStatistics:
            return w.network.statistics().directions["west", "east"]

        reader, writer = await w.connect()
        clock.stopped_at = time.monotonic()  # else what is in flight may have landed before anybody looks
        writer.write(b"in flight\n")
        await until(lambda: eastward().bytes_in_flight > 0)
        await w.cut("west", "east", both_ways=True)
        delivered = eastward().bytes_delivered
        clock.stopped_at = None
        writer.write(b"during the cut\n")
        assert await silent(reader.read(1))
        assert eastward().bytes_delivered == delivered
        await w.heal()
        assert await reader.readline() == b"in flight\n"
        assert await reader.readline() == b"during the cut\n"
        writer.close()


@on_uvloop
async def test_a_cut_one_way_lets_the_other_way_through() -> None:
    async with world(rtt_ms=10) as w, asyncio.timeout(LIMIT_S):
        reader, writer = await w.connect()
        await w.cut("west", "east")
        for far in w.target.writers:
            far.write(b"still talking\n")
        assert await reader.readline() == b"still talking\n"
        writer.write(b"unheard\n")
        assert await silent(reader.read(1))
        await w.heal()
        assert await reader.readline() == b"unheard\n"

        await w.cut("east", "west")
        writer.write(b"heard, not answered\n")
        east_west = ("east", "west")
        assert await silent(reader.read(1))
        assert w.network.statistics().directions[east_west].shape.cut
        await w.heal()
        assert await reader.readline() == b"heard, not answered\n"
        writer.close()


@pytest.mark.parametrize("how", ["fin", "reset"])
@on_uvloop
async def test_an_end_in_a_cut_direction_is_held_until_the_heal(how: str) -> None:
    async with world(rtt_ms=10) as w, asyncio.timeout(LIMIT_S):
        _, writer = await w.connect()
        await w.cut("west", "east", both_ways=True)
        if how == "fin":
            writer.write_eof()
        else:
            abort(writer)
        assert await silent(w.target.endings.get())
        await w.heal()
        assert await w.target.endings.get() == how


@on_uvloop
async def test_a_target_killed_behind_a_cut_is_silent_until_the_heal() -> None:
    async with world(rtt_ms=10) as w, asyncio.timeout(LIMIT_S):
        reader, writer = await w.connect()
        await w.cut("west", "east", both_ways=True)
        await w.target.kill()
        assert await silent(reader.read(1))
        assert await silent(try_connect(w.port))
        await w.heal()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()


@on_uvloop
async def test_a_target_that_is_not_up_refuses_through_the_relay_and_is_found_when_it_comes() -> None:
    async with world(rtt_ms=10, up=False) as w:
        with pytest.raises(ConnectionRefusedError):
            await try_connect(w.port)
        await w.target.start()
        await w.until_open()
        _, writer = await w.connect()
        writer.close()


@on_uvloop
async def test_a_killed_target_resets_its_connections_and_refuses_until_it_is_back() -> None:
    async with world(rtt_ms=10) as w, asyncio.timeout(LIMIT_S):
        reader, writer = await w.connect()
        await w.target.kill()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()
        with suppress(
            ConnectionRefusedError
        ):  # the first to ask finds out; where it does, after the handshake
            reader, writer = await try_connect(w.port)
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            writer.close()
        await until(lambda: w.state() is DoorState.REFUSING)
        with pytest.raises(ConnectionRefusedError):
            await try_connect(w.port)
        assert w.network.statistics().relays[0].refused == 1
        await w.target.start()
        await w.until_open()
        _, writer = await w.connect()
        writer.close()


@on_uvloop
async def test_a_cut_hides_that_the_target_refuses() -> None:
    async with world(up=False) as w:
        await w.cut("west", "east")
        assert await silent(try_connect(w.port))
        await w.heal()
        with pytest.raises(ConnectionRefusedError):
            await try_connect(w.port)


@on_uvloop
async def test_a_lost_connection_is_reset_at_both_ends_and_new_ones_work() -> None:
    async with world(rtt_ms=10) as w, asyncio.timeout(LIMIT_S):
        reader, writer = await w.connect()
        assert w.network.lose(Selection("west", "east")) == 1
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        assert await w.target.endings.get() == "reset"
        writer.close()
        _, writer = await w.connect()
        writer.close()


@on_uvloop
async def test_a_client_that_goes_is_told_to_the_target() -> None:
    async with world(rtt_ms=10) as w, asyncio.timeout(LIMIT_S):
        _, writer = await w.connect()
        writer.close()
        assert await w.target.endings.get() == "fin"
        _, writer = await w.connect()
        abort(writer)
        assert await w.target.endings.get() == "reset"
        await until(lambda: w.network.statistics().relays[0].connections == 0)


@on_uvloop
async def test_a_throttled_link_is_no_faster_than_its_rate() -> None:
    rate, size = 200_000, 100_000
    async with world() as w, asyncio.timeout(LIMIT_S):
        reader, writer = await w.connect()
        await w.network.reshape(Selection("east", "west"), lambda s: replace(s, rate_bytes_per_s=rate))
        before = time.monotonic()
        writer.write(bytes(size))
        assert len(await reader.readexactly(size)) == size
        assert time.monotonic() - before >= size / rate
        writer.close()


@on_uvloop
async def test_a_port_in_use_is_named() -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        network = Network(
            LinksConfig(Path("unused"), (RelayConfig("west", "east", port, HOST, free_port(), 1),)),
            SystemClock(),
        )
        with pytest.raises(OSError, match=f"cannot listen on {HOST}:{port} for the link west -> east"):
            network.start()
        await network.close()


@on_uvloop
async def test_relays_of_one_link_share_its_directions() -> None:
    ports = [free_port() for _ in range(3)]
    config = LinksConfig(
        Path("unused"),
        (
            RelayConfig("west", "east", ports[0], HOST, free_port(), 10),
            RelayConfig("west", "east", ports[1], HOST, free_port(), 10),
            RelayConfig("east", "west", ports[2], HOST, free_port(), 10),
        ),
    )
    network = Network(config, SystemClock())
    network.start()
    try:
        shapes = await network.reshape(
            Selection("west", "east", both_ways=False), lambda s: replace(s, cut=True)
        )
        assert list(shapes) == [("west", "east")]
        statistics = network.statistics()
        assert set(statistics.directions) == {("west", "east"), ("east", "west")}
        assert {relay.state for relay in statistics.relays} == {DoorState.HANGING}
    finally:
        await network.close()


@pytest.fixture
def folder() -> Iterator[Path]:  # short, since a socket's path is limited
    with TemporaryDirectory(prefix="links") as made:
        yield Path(made)


@on_uvloop
async def test_faults_over_the_control_socket(folder: Path) -> None:
    async with world(rtt_ms=10) as w, await serve_control(folder / "s", w.network):
        client = LinksClient(folder / "s")
        answer = await client.set(
            Selection("west", "east"), latency_ms=50, jitter_ms=2, rate_bytes_per_s=1e6, cut=True
        )
        assert {(d.source, d.destination, d.latency_ms, d.jitter_ms, d.cut) for d in answer.directions} == {
            ("west", "east", 50.0, 2.0, True),
            ("east", "west", 50.0, 2.0, True),
        }
        assert await silent(try_connect(w.port))
        answer = await client.set(Selection("west", "east", both_ways=False), cut=False)
        assert [(d.latency_ms, d.cut) for d in answer.directions] == [(50.0, False)]
        document = await Client(folder / "s").call("set", {"source": "west", "rate_bytes_per_s": None})
        assert "1000000" not in json.dumps(document)
        statistics = await client.statistics()
        assert statistics.relays[0].state is DoorState.HANGING
        assert [d.cuts for d in statistics.directions] == [1, 1]
        await client.heal()
        assert w.network.statistics().directions["west", "east"].shape == Shape(latency_s=0.005)
        _, writer = await w.connect()
        assert (await client.lose(Selection("west", None))).connections >= 1
        writer.close()


@on_uvloop
async def test_a_bad_fault_changes_nothing_and_says_what_is_wrong(folder: Path) -> None:
    async with world(rtt_ms=10) as w, await serve_control(folder / "s", w.network):
        client = Client(folder / "s")
        cases: tuple[tuple[str, Document, str, str], ...] = (
            ("set", {"source": "north", "cut": True}, "no-such-link", "west -> east"),
            ("set", {"latency_ms": -1}, "bad-request", "latency_ms"),
            ("set", {"rate_bytes_per_s": 0}, "bad-request", "rate_bytes_per_s"),
            ("set", {"latency": 1}, "bad-request", "latency"),
            ("explode", {}, "no-such-method", "statistics"),
        )
        for method, params, kind, says in cases:
            with pytest.raises(RpcError) as caught:
                await client.call(method, params)
            assert caught.value.kind == kind
            assert says in caught.value.detail
        assert {d.shape for d in w.network.statistics().directions.values()} == {Shape(latency_s=0.005)}


def test_a_configuration_is_written_and_read_back(folder: Path) -> None:
    config = LinksConfig(
        folder / "s",
        (
            RelayConfig("west", "east", 4001, HOST, 4002, 80.5, 3.0),
            RelayConfig("east", "west", 4003, HOST, 4004, 80.5, 3.0),
        ),
        seed=7,
    )
    write_links_config(folder / "links.json", config)
    assert read_links_config(folder / "links.json") == config
    assert (folder / "links.json").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in folder.iterdir()] == ["links.json"]
    assert config.relays[0].shape == Shape(latency_s=0.04025, jitter_s=0.0015)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rtt_ms": -1}, r"links\.1\.rtt_ms"),
        ({"listen_port": 70000}, r"links\.1\.listen_port"),
        ({"listen_port": 4001}, "listen_port 4001 is used by"),
        ({"speed": 1}, r"links\.1\.speed"),
        ({"source": "west"}, "must differ"),
        ({"rtt_ms": 20}, "one link has one of each"),
    ],
)
def test_a_wrong_configuration_is_refused_by_key(folder: Path, change: dict[str, object], says: str) -> None:
    first = {
        "source": "west",
        "destination": "east",
        "listen_port": 4001,
        "target_host": HOST,
        "target_port": 1,
        "rtt_ms": 10,
    }
    second = first | {"source": "east", "destination": "west", "listen_port": 4002} | change
    path = folder / "links.json"
    path.write_text(json.dumps({"control": "s", "links": [first, second]}))
    with pytest.raises(LinksConfigError, match=says):
        read_links_config(path)


@asynccontextmanager
async def process(config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "atoll.cell.links", "--config", str(config),
        stderr=asyncio.subprocess.PIPE, env=environment,
    )  # fmt: skip
    try:
        yield made
    finally:
        if made.returncode is None:
            made.kill()
        await made.wait()


async def ready(client: LinksClient) -> None:
    async with asyncio.timeout(LIMIT_S):
        while True:
            with suppress(RpcError):
                if {relay.state for relay in (await client.statistics()).relays} == {DoorState.OPEN}:
                    return
            await asyncio.sleep(0.02)


@on_uvloop
async def test_the_process_relays_and_ends_cleanly_on_sigterm(folder: Path) -> None:
    target, port = Target(), free_port()
    await target.start()
    write_links_config(
        folder / "links.json",
        LinksConfig(folder / "s", (RelayConfig("west", "east", port, HOST, target.port, 20.0),)),
    )
    try:
        async with process(folder / "links.json") as links, asyncio.timeout(LIMIT_S):
            client = LinksClient(folder / "s")
            await ready(client)
            reader, writer = await asyncio.open_connection(HOST, port)
            assert await reader.readline() == GREETING
            await client.set(Selection("west", "east"), cut=True)
            assert await silent(try_connect(port))
            writer.write(b"held\n")
            assert await silent(reader.read(1))
            await client.heal()
            assert await reader.readline() == b"held\n"
            links.send_signal(signal.SIGTERM)
            _, errors = await links.communicate()
            assert (links.returncode, errors) == (0, b"")
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            writer.close()
            with pytest.raises(ConnectionRefusedError):
                await try_connect(port)
            assert not (folder / "s").exists()
    finally:
        await target.close()


@on_uvloop
async def test_the_process_says_what_it_cannot_use(folder: Path) -> None:
    async with process(folder / "none.json") as links:
        _, errors = await links.communicate()
        assert links.returncode == 2
        assert b"cannot read the links configuration" in errors
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        write_links_config(
            folder / "links.json",
            LinksConfig(folder / "s", (RelayConfig("west", "east", port, HOST, free_port(), 20.0),)),
        )
        async with process(folder / "links.json") as links:
            _, errors = await links.communicate()
            assert links.returncode == 3
            assert f"cannot listen on {HOST}:{port}".encode() in errors
            assert b"Traceback" not in errors


@on_uvloop
async def test_relays_come_and_go_and_the_others_stay_as_they_are(folder: Path) -> None:
    file = folder / "links.json"
    async with world(rtt_ms=10) as w, await serve_control(folder / "s", w.network, file):
        client = LinksClient(folder / "s")
        own = w.network.statistics().relays[0]
        first = RelayConfig("west", "east", own.listen_port, own.target_host, own.target_port, rtt_ms=10)
        second = RelayConfig("west", "north", free_port(), HOST, w.target.port, rtt_ms=20)
        reader, writer = await w.connect()
        await client.set(Selection("west", "east"), latency_ms=7)

        write_links_config(file, LinksConfig(folder / "s", (first, second)))
        assert {relay.destination for relay in (await client.reload()).relays} == {"east", "north"}
        await until(lambda: w.network.statistics().relays[1].state is DoorState.OPEN)
        fresh, other = await asyncio.open_connection(HOST, second.listen_port)
        async with asyncio.timeout(LIMIT_S):
            assert await fresh.readline() == GREETING

        taken = RelayConfig("west", "south", w.target.port, HOST, w.target.port, rtt_ms=20)
        write_links_config(file, LinksConfig(folder / "s", (first, taken)))
        with pytest.raises(RpcError, match="south"):
            await client.reload()
        assert len(w.network.statistics().relays) == 2, "nothing is changed"
        assert ("west", "south") not in w.network.statistics().directions

        write_links_config(file, LinksConfig(folder / "s", (first,)))
        statistics = await client.reload()
        assert [relay.destination for relay in statistics.relays] == ["east"]
        assert {(one.source, one.latency_ms) for one in statistics.directions} == {
            ("west", 7.0),
            ("east", 7.0),
        }
        with pytest.raises(RpcError, match="no link"):
            await client.set(Selection("west", "north"), cut=True)
        async with asyncio.timeout(LIMIT_S):
            with suppress(ConnectionError):
                assert await fresh.read() == b""
            writer.write(b"still here\n")
            assert await reader.readline() == b"still here\n", "its connection was not touched"
        with socket.create_server((HOST, second.listen_port)):
            pass  # the port is free
        writer.close()
        other.close()
