"""Requests and answers over a channel, many at once.

-> [id, method, body]
<- [id, 0, body]                or   [id, 1, kind, detail]
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping
from math import inf
from typing import TypeAlias

from atoll.channel.channel import Channel, ChannelClosed, open_channel
from atoll.channel.frames import FrameError, Wire
from atoll.channel.hello import HelloRefused
from atoll.tls import Calling
from atoll.topology.wiring import Address

PURPOSE = "calls"
RENEW_AGAIN_S = 10.0
"""After a connection that has reached its age could not be replaced."""
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


class _Line:
    """One connection, and the calls that are under way on it."""

    def __init__(self, channel: Channel, ended: Callable[["_Line"], None], renew_at: float) -> None:
        self.channel = channel
        self.renew_at = renew_at
        """By the loop's clock: when another one is to take its place."""
        self.waiting: dict[int, asyncio.Future[Wire]] = {}
        self.heard = 0
        self._ended = ended
        self._gone = False
        self._reading = asyncio.create_task(self._read())

    async def drop(self, reason: str = "given up") -> None:
        """Gives the connection up; every call on it is lost."""
        if self._gone:
            return
        self._gone = True
        self._ended(self)
        for answer in self.waiting.values():
            if not answer.done():
                answer.set_exception(ChannelClosed(reason))
        if self._reading is not asyncio.current_task():
            self._reading.cancel()
            await asyncio.wait({self._reading})  # which shows a cancellation of this task, unlike awaiting it
        await self.channel.close()

    async def _read(self) -> None:
        try:
            while True:
                answer = await self.channel.receive()
                self.heard += 1
                self._settle(answer)
        except (ChannelClosed, FrameError) as error:
            await self.drop(str(error))

    def _settle(self, answer: Wire) -> None:
        match answer:
            case (int() as number, 0, body):
                if (waiting := self.waiting.get(number)) is not None and not waiting.done():
                    waiting.set_result(body)
            case (int() as number, 1, str() as kind, str() as detail):
                if (waiting := self.waiting.get(number)) is not None and not waiting.done():
                    waiting.set_exception(Remote(kind, detail))
            case _:
                raise FrameError("an answer of no known form")


class Caller:
    """Calls one address over one connection, which is opened when it is needed and again after it broke.

    With TLS another one is opened when it has reached its age. Calls go on here until that is there, and those that are
    under way then end here.
    """

    def __init__(self, address: Address, secret: bytes, name: str, *, tls: Calling | None = None) -> None:
        self._address = address
        self._secret = secret
        self._name = name
        self._tls = tls
        self._opening = asyncio.Lock()
        self._line: _Line | None = None
        self._lines: set[_Line] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)

    @property
    def peer(self) -> str:
        """The other side's name, or its address while it was not reached yet."""
        return str(self._address) if self._line is None else self._line.channel.peer

    async def call(self, method: str, body: Wire, timeout_s: float) -> Wire:
        """The result, within `timeout_s` in all. Raises `NotSent`, `CallLost`, `Remote`.

        After a call that timed out while nothing at all was heard the connection is given up: it may be half open.
        """
        until = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(until):
                line = await self._open()
        except (OSError, HelloRefused, FrameError) as error:
            raise NotSent(f"{self._address} can't be reached: {str(error) or 'no answer in time'}") from error
        self._keep_fresh(line)
        number = next(self._ids)
        answer: asyncio.Future[Wire] = asyncio.get_running_loop().create_future()
        line.waiting[number] = answer
        heard = line.heard
        peer = line.channel.peer
        try:
            async with asyncio.timeout_at(until):
                await line.channel.send([number, method, body])
                return await answer
        except TimeoutError as error:
            if line.heard == heard:
                await line.drop()
            raise CallLost(f"{peer} did not answer {method} within {timeout_s:g} s") from error
        except ChannelClosed as error:
            raise CallLost(f"the answer of {peer} to {method} was lost: {error}") from error
        finally:
            line.waiting.pop(number, None)
            if line is not self._line and not line.waiting:
                await line.drop()

    async def close(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
        for line in tuple(self._lines):
            await line.drop()

    async def _open(self) -> _Line:
        async with self._opening:
            if self._line is None:
                self._line = await self._connect()
            return self._line

    async def _connect(self) -> _Line:
        toward = None if self._tls is None else self._tls.toward()
        channel = await open_channel(self._address, self._secret, self._name, PURPOSE, tls=toward)
        age_s = inf if self._tls is None else self._tls.max_age_s
        line = _Line(channel, self._ended, asyncio.get_running_loop().time() + age_s)
        self._lines.add(line)
        return line

    def _keep_fresh(self, line: _Line) -> None:
        now = asyncio.get_running_loop().time()
        if now >= line.renew_at and (self._renewing is None or self._renewing.done()):
            line.renew_at = now + RENEW_AGAIN_S
            self._renewing = asyncio.create_task(self._renew(line))

    async def _renew(self, old: _Line) -> None:
        try:
            line = await self._connect()
        except (OSError, HelloRefused, FrameError) as error:
            log.warning("a connection can't be renewed", extra={"peer": self.peer, "reason": str(error)})
            return
        if self._line is not old:  # it broke, and has a successor or gets one
            await line.drop()
            return
        self._line = line
        if not old.waiting:
            await old.drop()

    def _ended(self, line: _Line) -> None:
        self._lines.discard(line)
        if self._line is line:
            self._line = None


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
