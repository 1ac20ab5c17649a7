"""Requests and answers over a channel, many at once.

-> [id, method, body]
<- [id, 0, body]                or   [id, 1, kind, detail]
"""

import asyncio
import contextlib
import itertools
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from atoll.channel.channel import Channel, ChannelClosed, open_channel
from atoll.channel.frames import FrameError, Wire
from atoll.channel.hello import HelloRefused
from atoll.topology.wiring import Address

PURPOSE = "calls"
_OK, _FAILED = 0, 1

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[str, Wire], Awaitable[Wire]]
"""Answers one request: the caller's name and the body. `Remote` for what the caller is to see as an error."""


class CallError(Exception):
    """A call that brought no result."""


class NotSent(CallError):
    """The other side was not reached, so it was certainly not asked."""


class CallLost(CallError):
    """The request went out and no answer came: whether it was carried out is unknown."""


class Remote(CallError):
    """The other side answers with an error: `kind` is for programs, `detail` for people. Handlers raise it."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{detail} ({kind})")
        self.kind = kind
        self.detail = detail


class Caller:
    """Calls one address over one connection, which is opened when it is needed and again after it broke."""

    def __init__(
        self, address: Address, secret: bytes, name: str, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._address = address
        self._secret = secret
        self._name = name
        self._tls = tls
        self._opening = asyncio.Lock()
        self._channel: Channel | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[Wire]] = {}
        self._ids = itertools.count(1)
        self._heard = 0

    @property
    def peer(self) -> str:
        """The other side's name, or its address while it was not reached yet."""
        return str(self._address) if self._channel is None else self._channel.peer

    async def call(self, method: str, body: Wire, timeout_s: float) -> Wire:
        """The result, within `timeout_s` in all. Raises `NotSent`, `CallLost`, `Remote`.

        After a call that timed out while nothing at all was heard the connection is given up: it may be half open.
        """
        until = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(until):
                channel = await self._open()
        except (OSError, HelloRefused, FrameError) as error:
            raise NotSent(f"{self._address} can't be reached: {str(error) or 'no answer in time'}") from error
        number = next(self._ids)
        answer: asyncio.Future[Wire] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        heard = self._heard
        try:
            async with asyncio.timeout_at(until):
                await channel.send([number, method, body])
                return await answer
        except TimeoutError as error:
            if self._heard == heard:
                await self._drop(channel)
            raise CallLost(f"{channel.peer} did not answer {method} within {timeout_s:g} s") from error
        except ChannelClosed as error:
            raise CallLost(f"the answer of {channel.peer} to {method} was lost: {error}") from error
        finally:
            self._waiting.pop(number, None)

    async def close(self) -> None:
        if self._channel is not None:
            await self._drop(self._channel)

    async def _open(self) -> Channel:
        async with self._opening:
            if self._channel is None:
                channel = await open_channel(self._address, self._secret, self._name, PURPOSE, tls=self._tls)
                self._channel = channel
                self._reading = asyncio.create_task(self._read(channel))
            return self._channel

    async def _read(self, channel: Channel) -> None:
        try:
            while True:
                answer = await channel.receive()
                self._heard += 1
                self._settle(answer)
        except (ChannelClosed, FrameError) as error:
            await self._drop(channel, str(error))

    def _settle(self, answer: Wire) -> None:
        match answer:
            case (int() as number, 0, body):
                if (waiting := self._waiting.get(number)) is not None and not waiting.done():
                    waiting.set_result(body)
            case (int() as number, 1, str() as kind, str() as detail):
                if (waiting := self._waiting.get(number)) is not None and not waiting.done():
                    waiting.set_exception(Remote(kind, detail))
            case _:
                raise FrameError("an answer of no known form")

    async def _drop(self, channel: Channel, reason: str = "given up") -> None:
        """Gives a connection up; every call on it is lost."""
        if self._channel is channel:
            self._channel = None
            reading, self._reading = self._reading, None
            waiting, self._waiting = self._waiting, {}
            for answer in waiting.values():
                if not answer.done():
                    answer.set_exception(ChannelClosed(reason))
            if reading is not None and reading is not asyncio.current_task():
                reading.cancel()
                await asyncio.wait(
                    {reading}
                )  # which a cancellation of this task ends, as awaiting it would hide
        await channel.close()


class Answerer:
    """The other end: answers the calls of a channel, each in a task of its own, at most `limit` at once.

    An instance is what `serve_channels` takes for the purpose ``calls``.
    """

    def __init__(self, methods: Mapping[str, Handler], limit: int = 256) -> None:
        self._methods = methods
        self._limit = limit

    async def __call__(self, channel: Channel) -> None:
        places = asyncio.Semaphore(self._limit)
        tasks: set[asyncio.Task[None]] = set()

        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("a call of %s failed unexpectedly", channel.peer, exc_info=error)
                channel.abort()  # whoever asked must not wait for an answer that does not come

        try:
            while True:
                match await channel.receive():
                    case (int() as number, str() as method, body):
                        await places.acquire()
                        task = asyncio.create_task(self._answer(channel, number, method, body, places))
                        tasks.add(task)
                        task.add_done_callback(ended)
                    case _:
                        raise FrameError("a request of no known form")
        finally:
            for task in tasks:
                task.cancel()

    async def _answer(
        self, channel: Channel, number: int, method: str, body: Wire, places: asyncio.Semaphore
    ) -> None:
        try:
            handler = self._methods.get(method)
            answer: Wire
            if handler is None:
                answer = [number, _FAILED, "no-such-method", f"{method!r} is none of {sorted(self._methods)}"]
            else:
                try:
                    answer = [number, _OK, await handler(channel.peer, body)]
                except Remote as error:
                    answer = [number, _FAILED, error.kind, error.detail]
            with contextlib.suppress(ChannelClosed):  # who asked has gone
                await channel.send(answer)
        finally:
            places.release()
