"""Commands as bytes on sockets, so that a store is measured and not a client."""

import socket
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from redis.asyncio import Redis

from atoll.state.kind import Kind
from atoll.state.store import Change
from atoll.state.valkey_calls import Argument, Calls, Reply
from atoll.state.valkey_store import ValkeyStore
from loadtests.bench.state.figures import Sample, sample
from loadtests.bench.workbench import BenchError

TIMEOUT_S = 30.0


class Recorder(Calls):
    """Notes what a store would send."""

    __slots__ = ("commands",)

    def __init__(self, client: Redis) -> None:
        super().__init__(client)
        self.commands: list[tuple[Argument, ...]] = []

    async def command(self, *command: Argument) -> Reply:
        self.commands.append(command)
        return b"0|nobody.1000000000|1|0"


async def write_commands(
    namespace: str, kind: Kind, writes: Sequence[tuple[str, Sequence[Change]]]
) -> list[tuple[Argument, ...]]:
    """The commands that `ValkeyStore` sends for writes: pairs of key and changes."""
    store = ValkeyStore(Redis(), Redis(), "nobody")
    store.calls = recorder = Recorder(Redis())
    for key, changes in writes:
        await store.write(namespace, kind, key, changes)
    return recorder.commands


def packed(commands: Sequence[Sequence[Argument]]) -> bytes:
    """In the RESP protocol (valkey.io/topics/protocol)."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for argument in command:
            data = argument if isinstance(argument, bytes) else str(argument).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class Wire:
    """Connections to one store, on each of which the same number of commands is sent at once."""

    def __init__(self, port: int, password: str, connections: int) -> None:
        self._sockets = [socket.create_connection(("127.0.0.1", port), TIMEOUT_S) for _ in range(connections)]
        for one in self._sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.sendall(packed([("AUTH", password)]))
            _read(one, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._sockets:
            one.close()

    def run(self, commands: Sequence[bytes], lines: int, depth: int) -> Sample:
        """Sends each of `commands` once: `depth` on each connection, then waits for all answers, and so on.

        `lines` is how many an answer has. Raises `BenchError` for an error among the answers.
        """
        step = depth * len(self._sockets)
        latencies = []
        begun = time.perf_counter()
        for at in range(0, len(commands) - step + 1, step):
            sent = time.perf_counter()
            for number, one in enumerate(self._sockets):
                first = at + number * depth
                one.sendall(b"".join(commands[first : first + depth]))
            for one in self._sockets:
                _read(one, depth * lines)
                latencies.append(time.perf_counter() - sent)
        return sample(len(commands) // step * step, time.perf_counter() - begun, latencies)


def _read(one: socket.socket, lines: int) -> None:
    data = b""
    while data.count(b"\r\n") < lines:
        got = one.recv(1 << 16)
        data += got
        if not got or data.startswith(b"-") or b"\r\n-" in data:
            raise BenchError(f"a store answered {data[-200:]!r}")
