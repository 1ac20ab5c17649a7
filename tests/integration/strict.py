"""A replica on h11, which shares no code with the gateway, and worlds whose one replica is what a test makes it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h11
from tests.integration.gateways import TOPOLOGY, World, until, world

from atoll.topology.wiring import Address
from atoll_gateway.message import Headers

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_LENIENT = """
[breaker]
consecutive = 1000000
minimum = 1000000
[outlier]
consecutive = 1000000
minimum = 1000000
stall = "60s"
[bulkhead]
floor = 256
"""
PLAIN = (
    TOPOLOGY.replace('timeout = "3s"', 'timeout = "3s"\nidempotency = "off"').replace(
        'silence = "2s"', 'silence = "60s"'
    )
    + _LENIENT
)
"""Nothing reacts to a replica that misbehaves on purpose, hundreds of times, or to a busy machine; and keys pass
through, since these worlds have no stores.
"""
LARGE = PLAIN.replace('timeout = "3s"', 'timeout = "60s"').replace('max_body = "400KiB"', 'max_body = "1GiB"')
"""The same for bodies of any length, which may take their time."""

WAYS = {"own": "eu-west", "entry": None}
"""Straight to the gateway of the replica's region, or by way of another gateway."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as a strict parser reads it."""

    method: bytes
    target: bytes
    headers: Headers
    body: bytes

    @property
    def what(self) -> tuple[bytes, bytes, bytes]:
        return self.method, self.target, self.body

    def field(self, name: bytes) -> bytes | None:
        return dict(self.headers).get(name)


@dataclass(slots=True)
class Strict:
    """A replica on h11, which shares no code with the gateway; it answers with what it was asked."""

    seen: list[Seen] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    says: bytes | None = None
    """Sent instead of an answer, to the last byte; then the connection ends."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        request: h11.Request | None = None
        body = b""
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while True:
                try:
                    event = connection.next_event()
                except h11.RemoteProtocolError as error:
                    self.errors.append(str(error))
                    return
                if event is h11.NEED_DATA:
                    data = await reader.read(65536)
                    connection.receive_data(data)
                elif isinstance(event, h11.Request):
                    request, body = event, b""
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    assert request is not None
                    self.seen.append(
                        Seen(
                            request.method,
                            request.target,
                            [(bytes(name), bytes(value)) for name, value in request.headers],
                            body,
                        )
                    )
                    if self.says is not None and request.target != b"/echo/sound":
                        writer.write(self.says)
                        await writer.drain()
                        return
                    self._answer(connection, writer, request)
                    if connection.our_state is h11.MUST_CLOSE:
                        return
                    connection.start_next_cycle()
                else:
                    return

    def _answer(self, connection: h11.Connection, writer: asyncio.StreamWriter, request: h11.Request) -> None:
        told = b"seen " + request.target + b"\n"
        content = b"" if request.method == b"HEAD" else told
        length = str(len(told))
        answer = connection.send(h11.Response(status_code=200, headers=[("content-length", length)]))
        end = connection.send(h11.Data(data=content)) if content else b""
        writer.write((answer or b"") + (end or b"") + (connection.send(h11.EndOfMessage()) or b""))


@dataclass(slots=True)
class Place:
    """A world whose eu-west has one strict replica, and whose other regions have none."""

    world: World
    replica: Strict

    async def open(
        self, way: str, source: str = "127.0.0.1"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        region = WAYS[way]
        wiring = self.world.entry.wiring if region is None else self.world.cells[region].wiring
        return await asyncio.open_connection(
            wiring.public.host, wiring.public.port, local_addr=(source, 0), limit=1 << 24
        )

    async def ask(self, way: str, data: bytes, source: str = "127.0.0.1") -> bytes:
        """Everything that is answered to `data`, on a connection of its own whose last request ends it."""
        reader, writer = await self.open(way, source)
        with contextlib.closing(writer):
            writer.write(data)
            async with asyncio.timeout(60):
                return await reader.read()

    async def is_sound(self, way: str) -> None:
        """The gateway lives, and no connection of its pools carries anything left over."""
        for _ in range(3):
            answer = await self.ask(way, b"GET /echo/sound HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\nseen /echo/sound\n"), (
                answer
            )
        self.replica.seen = [seen for seen in self.replica.seen if seen.target != b"/echo/sound"]


@asynccontextmanager
async def strict(folder: Path, topology: str = PLAIN) -> AsyncIterator[Place]:
    async with world(folder, topology=topology) as made:
        replica = Strict()
        async with at(made, replica):
            yield Place(made, replica)


@asynccontextmanager
async def at(made: World, handler: Handler) -> AsyncIterator[None]:
    """Has eu-west's replica be what `handler` makes of its sockets, and no other region have one."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            await handler(reader, writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for region, cell in made.cells.items():
        cell.gateway.replicas.update({"echo": (Address("127.0.0.1", port),)} if region == "eu-west" else {})
    await until(lambda: elsewhere(made))
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def elsewhere(made: World) -> bool:
    """Whether the entry has heard that no other region has a replica."""
    echo = made.entry.topology.services["echo"]
    return [made.entry.board.replicas(echo, region) for region in made.cells] == [
        int(region == "eu-west") for region in made.cells
    ]
