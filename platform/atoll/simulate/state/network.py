"""Connections between simulated agents: in order, with delay, and cut, slowed or swallowed by faults."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import cast

import msgpack

from atoll.channel import Wire
from atoll.state.replication import PeerLost

CONNECT_S = 2.0
"""An attempt to connect is given up after this."""


class Path:
    """One direction between two regions."""

    __slots__ = ("_chance", "_delay_s", "_opened", "cuts", "half_open", "over", "slowed_s")

    def __init__(self, delay_s: float, chance: Random) -> None:
        self._delay_s = delay_s
        self._chance = chance
        self.cuts = 0
        """Faults that cut it now."""
        self.slowed_s = 0.0
        self.over = False
        """The run has ended: nothing is carried any more."""
        self.half_open: list[Channel] = []
        """Open connections that use it."""
        self._opened = asyncio.Event()
        self._opened.set()

    def delay_s(self) -> float:
        return self._delay_s * (1.0 + 0.2 * self._chance.random()) + self.slowed_s

    def cut(self) -> None:
        self.cuts += 1
        self._opened.clear()

    def heal(self) -> None:
        self.cuts -= 1
        if not self.cuts:
            self._opened.set()

    async def open(self) -> None:
        """Returns when nothing cuts the path."""
        while self.cuts:
            await self._opened.wait()

    async def carry(self) -> None:
        """Takes a message to the other end."""
        await self.open()
        await asyncio.sleep(self.delay_s())
        await self.open()


class Channel:
    """One end of a connection."""

    def __init__(
        self, path: Path, awake: Callable[[], Awaitable[None]], watch: Callable[[Wire], None]
    ) -> None:
        """`path` is the way from here to the other end; `awake` returns when the region at this end runs; `watch` sees
        what arrives here.
        """
        self._path = path
        self._awake = awake
        self._watch = watch
        self.other: Channel = self
        self._arrived: deque[Wire | None] = deque()
        self._bell = asyncio.Event()
        self._way: deque[tuple[float, Wire | None]] = deque()
        self._carrying: asyncio.Task[None] | None = None
        self._last = 0.0
        self._closed = False
        self.swallows = False
        """Half open: what is sent goes nowhere, and the end is not told."""

    async def send(self, message: Wire) -> None:
        await self._awake()
        if self._closed:
            raise PeerLost("the connection has ended")
        packed = msgpack.packb(message)
        self._put(cast("Wire", msgpack.unpackb(packed, use_list=False)))

    async def receive(self) -> Wire:
        while not self._arrived:
            if self._closed:
                raise PeerLost("the connection has ended")
            self._bell.clear()
            await self._bell.wait()
        await self._awake()
        message = self._arrived.popleft()
        if message is None:
            self._closed = True
            raise PeerLost("the other side has ended the connection")
        return message

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            self._bell.set()
            self._put(None)

    def _put(self, message: Wire | None) -> None:
        if self.swallows or self._path.over:
            return
        loop = asyncio.get_running_loop()
        self._last = max(self._last, loop.time() + self._path.delay_s())
        self._way.append((self._last, message))
        if self._carrying is None or self._carrying.done():
            self._carrying = loop.create_task(self._carry())

    async def _carry(self) -> None:
        loop = asyncio.get_running_loop()
        while self._way:
            at, message = self._way[0]
            if at > loop.time():
                await asyncio.sleep(at - loop.time())
            await self._path.open()
            self._way.popleft()
            if not self.swallows:
                self.other.take(message)

    def take(self, message: Wire | None) -> None:
        """A message arrives; None: the other side has closed."""
        if message is not None:
            self._watch(message)
        self._arrived.append(message)
        self._bell.set()
