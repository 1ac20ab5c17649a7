"""State stores for tests: real servers that a test opens itself, and a client that sends many commands at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from tests.integration.ports import free_port

from atoll.cell.valkey import StoreKind, Valkey
from atoll.state.opening import Library, load, state_library
from atoll.state.valkey_calls import Argument, Calls, Reply, told
from atoll.state.valkey_store import ValkeyStore
from atoll.stores import StoreRefused, connect, ping
from atoll.topology.wiring import Address

OPENING = "0pen1ng"
PASSWORD = "b4d1dea"
IDENTITY = "deployment-1"


@dataclass(slots=True)
class StateServer:
    """A state store's server, as the warden configures it, and its process."""

    server: Valkey
    process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> Address:
        return self.server.address

    async def start(self) -> None:
        """Returns when it answers, be it with a refusal."""
        self.process = await asyncio.create_subprocess_exec(
            *self.server.argv, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(60), self.client(OPENING) as client:
            while not await _answers(client):
                await asyncio.sleep(0.01)

    async def kill(self) -> None:
        """As a crash does."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
            self.process = None

    def client(self, password: str = PASSWORD) -> Redis:
        return connect(self.address, password)

    def store(self, region: str = "eu", password: str = PASSWORD) -> ValkeyStore:
        return ValkeyStore(self.client(password), self.client(password), region)


async def _answers(client: Redis) -> bool:
    try:
        return await ping(client)
    except StoreRefused:
        return True


@contextlib.asynccontextmanager
async def state_server(folder: Path, *, start: bool = True) -> AsyncIterator[StateServer]:
    """A server that is not open yet."""
    folder.mkdir(parents=True, exist_ok=True)
    server = StateServer(Valkey(StoreKind.STATE, Address("127.0.0.1", free_port()), folder))
    server.server.write_config(OPENING)
    try:
        if start:
            await server.start()
        yield server
    finally:
        await server.kill()


class OneByOne(Calls):
    """Sends all commands on one connection, in the order in which they were asked for, many at a time."""

    __slots__ = ("_flusher", "_waiting")

    def __init__(self, client: Redis) -> None:
        super().__init__(client)
        self._waiting: list[tuple[tuple[Argument, ...], asyncio.Future[Reply]]] = []
        self._flusher: asyncio.Task[None] | None = None

    def ask(self, *command: Argument) -> "asyncio.Future[Reply]":
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        return answer

    async def command(self, *command: Argument) -> Reply:
        return await self.ask(*command)

    async def several(self, commands: list[tuple[Argument, ...]]) -> list[Reply]:
        return await asyncio.gather(*(self.ask(*command) for command in commands))

    async def _flush(self) -> None:
        while self._waiting:
            sent, self._waiting = self._waiting, []
            pipeline = self._client.pipeline(transaction=False)
            for command, _ in sent:
                pipeline.execute_command(*command)
            for (_, answer), reply in zip(sent, await pipeline.execute(raise_on_error=False), strict=True):
                if isinstance(reply, Exception):
                    answer.set_exception(told(reply, sent=True))
                else:
                    answer.set_result(reply)


NOW = "test:now_ms"
_TIME = "return time[1] * 1000 + floor(time[2] / 1000) + skew_ms"


def tellable_library() -> Library:
    """The state library with a clock that a test tells the time: the milliseconds in the key `NOW`."""
    library = state_library()
    code = library.code.replace(_TIME, f"return tonumber(call('GET', '{NOW}')) + skew_ms")
    assert code != library.code
    return Library(library.name, code)


class ToldStore(ValkeyStore):
    """A store whose wall clock is told, and whose commands are sent in order, many at a time."""

    __slots__ = ("_library", "_one_by_one")

    def __init__(self, client: Redis, tail: Redis, region: str, library: Library) -> None:
        super().__init__(client, tail, region)
        self.calls = self._one_by_one = OneByOne(client)
        self._library = library

    def tell(self, now_ms: int) -> None:
        """The time of what is asked from now on."""
        _ = self._one_by_one.ask("SET", NOW, now_ms)

    async def load(self) -> None:
        """Loads the library; as a start of the server does, that closes the store."""
        await self.calls.command("FUNCTION", "FLUSH", "SYNC")
        await load(self.calls, self._library)
