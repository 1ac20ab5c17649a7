"""One open connection, and how to open and serve them."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self, TypeAlias

from atoll.channel import hello
from atoll.channel.frames import LENGTH, FrameError, Wire, length_of, pack, unpack
from atoll.channel.hello import HelloRefused, Introduction
from atoll.tls import SHUTDOWN_S, Certificate, Serving, Stranger, TlsListener, Toward, bind
from atoll.topology.wiring import Address

HELLO_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 3.0
"""With the handshake, where there is TLS."""
BACKLOG = 100

log = logging.getLogger(__name__)


class ChannelClosed(ConnectionError):
    """The connection has ended, by either side or by the network."""


class Channel:
    """Messages both ways. One task may receive; any may send."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str, purpose: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.peer = peer
        """The other side's name, proved by its knowing the secret, and by its certificate where there is TLS."""
        self.purpose = purpose

    @property
    def certificate(self) -> Certificate | None:
        """The other side's, if there is TLS."""
        shown: Certificate | None = self._writer.get_extra_info("peercert")
        return shown

    async def send(self, message: Wire) -> None:
        """Sends a message; waits while the other side takes nothing. Raises `ChannelClosed`, `FrameError`."""
        frame = pack(message)
        if self._writer.is_closing():
            raise ChannelClosed(f"the connection to {self.peer} is closed")
        self._writer.write(frame)
        try:
            await self._writer.drain()
        except (ConnectionError, TimeoutError, ssl.SSLError) as error:
            raise ChannelClosed(f"the connection to {self.peer} broke: {error}") from error

    async def receive(self) -> Wire:
        """The next message. Raises `ChannelClosed`, `FrameError`."""
        return await _read(self._reader, self.peer)

    def abort(self) -> None:
        """Ends the connection at once; what was not sent yet is dropped."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """As `abort`; returns when it is over."""
        self.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


Serve: TypeAlias = Callable[[Channel], Awaitable[None]]
"""Works on a channel until it is closed; the channel is closed when it returns."""


async def open_channel(
    address: Address, secret: bytes, name: str, purpose: str, *, tls: Toward | None = None
) -> Channel:
    """Connects and says hello. Raises `OSError` (not reached, or no hello in time), `HelloRefused`, `FrameError`."""
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        reader, writer = await _connect(address, tls)
    channel = Channel(reader, writer, str(address), purpose)
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            words, owed = hello.introduce(await channel.receive(), secret, name, purpose, hello.nonce())
            await channel.send(words)
            channel.peer = hello.settled(await channel.receive(), owed)
    except BaseException:
        await channel.close()
        raise
    return channel


async def _connect(address: Address, tls: Toward | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if tls is None:
        return await asyncio.open_connection(address.host, address.port)
    return await asyncio.open_connection(
        address.host,
        address.port,
        ssl=tls.context,
        server_hostname=tls.name,
        ssl_shutdown_timeout=SHUTDOWN_S,
    )


class ChannelServer:
    """A listener, made by `serve_channels`."""

    def __init__(self, secret: bytes, name: str, purposes: Mapping[str, Serve], tls: Serving | None) -> None:
        self._secret = secret
        self._name = name
        self._purposes = purposes
        self._tls = tls
        self._server: asyncio.Server | TlsListener | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, address: Address) -> None:
        """Listens. Raises `OSError` if the port can't be had."""
        if self._tls is None:
            self._server = await asyncio.start_server(self._connected, address.host, address.port)
        else:
            listening = bind(address.host, address.port, BACKLOG)
            self._server = TlsListener(listening, self._streams, self._tls.context)

    async def close(self) -> None:
        """Stops listening and ends every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _streams(self) -> asyncio.Protocol:
        """As `asyncio.start_server` makes them."""
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._connected)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection to %s ended unexpectedly", self._name, exc_info=error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = str(writer.get_extra_info("peername"))
        async with Channel(reader, writer, peer, "") as channel:
            try:
                async with asyncio.timeout(HELLO_TIMEOUT_S):
                    said = await self._hello(channel)
                channel.peer, channel.purpose = said.name, said.purpose
                async with asyncio.timeout(None if self._tls is None else self._tls.max_age_s):
                    await self._purposes[said.purpose](channel)
            except HelloRefused as error:
                log.warning("a connection is refused", extra={"peer": peer, "reason": str(error)})
            except FrameError as error:
                log.warning(
                    "a connection breaks the protocol", extra={"peer": channel.peer, "reason": str(error)}
                )
            except (ChannelClosed, TimeoutError):
                pass  # they come and go

    async def _hello(self, channel: Channel) -> Introduction:
        own = hello.nonce()
        await channel.send(hello.greet(own))
        try:
            said, proof = hello.judge(await channel.receive(), self._secret, own, self._purposes)
            self._check(channel, said)
        except HelloRefused as error:
            await channel.send(hello.refuse(str(error)))
            raise
        await channel.send(hello.welcome(self._name, proof))
        return said

    def _check(self, channel: Channel, said: Introduction) -> None:
        """Whether the certificate speaks for the name. Raises `HelloRefused`."""
        if self._tls is not None:
            try:
                self._tls.check(channel.certificate, said.name)
            except Stranger as error:
                raise HelloRefused(str(error)) from error


async def serve_channels(
    address: Address,
    secret: bytes,
    name: str,
    purposes: Mapping[str, Serve],
    *,
    tls: Serving | None = None,
) -> ChannelServer:
    """Listens for channels, each for one of `purposes`. Raises `OSError` if the port can't be had."""
    server = ChannelServer(secret, name, purposes, tls)
    await server.start(address)
    return server


async def _read(reader: asyncio.StreamReader, peer: str) -> Wire:
    try:
        head = await reader.readexactly(LENGTH.size)
        return unpack(await reader.readexactly(length_of(head)))
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError, ssl.SSLError) as error:
        why = f": {error}" if isinstance(error, ssl.SSLError) else ""  # a certificate that was refused
        raise ChannelClosed(f"the connection to {peer} has ended{why}") from error
