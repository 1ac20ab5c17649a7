"""Calls between processes of one machine: JSON lines over a unix socket.

    -> {"id": 1, "method": "heal", "params": {...}}
    <- {"id": 1, "progress": {...}}                                 none, one or many
    <- {"id": 1, "result": {...}}                                   or
    <- {"id": 1, "error": {"kind": "no-such-link", "detail": "..."}}

One line is at most `MESSAGE_LIMIT_BYTES` long. Requests of one connection are answered one after the other;
a client that wants several at once opens several connections (`Client` opens one a call). A request runs
to its end even if the client goes away meanwhile. Who may connect is the file system's business: the
socket is readable and writable by its owner only.
"""

import asyncio
import json
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

MESSAGE_LIMIT_BYTES = 1 << 20
PATH_LIMIT_BYTES = 107
"""What Linux allows for the path of a unix socket."""

Document: TypeAlias = dict[str, object]
Handler: TypeAlias = Callable[[str, Document], Awaitable[Document]]
Progress: TypeAlias = Callable[[Document], Awaitable[None]]
StreamingHandler: TypeAlias = Callable[[str, Document, Progress], Awaitable[Document]]

log = logging.getLogger(__name__)


class RpcError(Exception):
    """A call that failed. A handler raises it to answer with an error; the client raises the answer.

    ``detail`` is for people, ``kind`` for programs. From this module come ``unavailable`` (nobody
    listens), ``disconnected`` (no answer came, so whether it was done is unknown), ``bad-request``,
    ``bad-answer``, ``too-large``.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{detail} ({kind})")
        self.kind = kind
        self.detail = detail


class SocketPathError(Exception):
    """A path on which no socket can be opened: too long, in use by a live process, or not a socket."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: int
    method: str
    params: dict[str, JsonValue] = {}


class _Error(BaseModel):
    model_config = ConfigDict(frozen=True)

    kind: str
    detail: str


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: int | None = None
    progress: dict[str, JsonValue] | None = None
    result: dict[str, JsonValue] | None = None
    error: _Error | None = None


class Server:
    """A listening socket, made by `serve` and `serve_streaming`; as a context manager it closes itself."""

    def __init__(self, path: Path, handler: StreamingHandler) -> None:
        self._path = path
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def path(self) -> Path:
        return self._path

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops listening, cancels what is being answered, and removes the socket's file."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self._path.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def start(self) -> None:
        """Listens; `serve` has done it already."""
        listener = _listen(self._path)
        self._server = await asyncio.start_unix_server(
            self._connected, sock=listener, limit=MESSAGE_LIMIT_BYTES
        )

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._conversed)

    def _conversed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a call on %s failed unexpectedly", self._path, exc_info=error)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(
                ConnectionError
            ):  # the client has gone; it learns nothing, and the handler has ended
                while await self._answer_one(reader, writer):
                    pass
        finally:
            writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answers the next request. False at the end of the connection."""
        try:
            line = await reader.readline()
        except ValueError:
            await _write(writer, None, "error", _too_large("the request"))
            return False
        if not line:
            return False
        try:
            request = _Request.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "request"
            await _write(writer, None, "error", {"kind": "bad-request", "detail": f"{where}: {first['msg']}"})
            return True

        async def progress(document: Document) -> None:
            with suppress(ConnectionError):  # the client has gone: carry on without it
                await _write(writer, request.id, "progress", document)

        try:
            result = await self._handler(request.method, dict(request.params), progress)
        except RpcError as error:
            await _write(writer, request.id, "error", {"kind": error.kind, "detail": error.detail})
        else:
            await _write(writer, request.id, "result", result)
        return True


async def serve(path: Path, handler: Handler) -> Server:
    """Listens on a unix socket (mode 0600) and answers with what ``handler(method, params)`` returns.

    The handler raises `RpcError` for what the caller did wrong. Any other exception is logged and ends the
    connection: the client sees ``disconnected``. The file of a dead process is replaced.
    Raises `SocketPathError`, and `OSError` for what the file system refuses.
    """

    async def without_progress(method: str, params: Document, _: Progress) -> Document:
        return await handler(method, params)

    return await serve_streaming(path, without_progress)


async def serve_streaming(path: Path, handler: StreamingHandler) -> Server:
    """As `serve`, for handlers that report progress: ``handler(method, params, progress)``."""
    server = Server(path, handler)
    await server.start()
    return server


@dataclass(frozen=True, slots=True)
class Client:
    """Calls a server. Opens one connection a call, so calls may run side by side. For a time limit, use
    `asyncio.timeout` around the call.
    """

    path: Path

    async def call(self, method: str, params: Document | None = None) -> Document:
        """Calls and returns the result; progress is dropped. Raises `RpcError`."""
        result: Document = {}
        async for result in self.stream(method, params):  # noqa: B007  the last one is the result
            pass
        return result

    async def stream(self, method: str, params: Document | None = None) -> AsyncIterator[Document]:
        """Calls and yields each progress document as it comes, and the result last. Raises `RpcError`."""
        try:
            reader, writer = await asyncio.open_unix_connection(
                _checked(self.path), limit=MESSAGE_LIMIT_BYTES
            )
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise RpcError(
                "unavailable", f"nobody listens on {self.path}; is the process running?"
            ) from error
        try:
            line = _encode({"id": 1, "method": method, "params": params or {}})
            if len(line) > MESSAGE_LIMIT_BYTES:
                raise RpcError(**_too_large("the request"))
            writer.write(line)
            await writer.drain()
            while True:
                answer = await self._answer(reader, method)
                if answer.error is not None:
                    raise RpcError(answer.error.kind, answer.error.detail)
                if answer.progress is not None:
                    yield dict(answer.progress)
                if answer.result is not None:
                    yield dict(answer.result)
                    return
        except ConnectionError as error:
            raise self._disconnected(method) from error
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, method: str) -> _Answer:
        try:
            line = await reader.readline()
        except ValueError as error:
            raise RpcError(**_too_large("the answer")) from error
        if not line.endswith(b"\n"):
            raise self._disconnected(method)
        try:
            return _Answer.model_validate_json(line)
        except ValidationError as error:
            raise RpcError(
                "bad-answer", f"{self.path} answered {method!r} with something else than a result"
            ) from error

    def _disconnected(self, method: str) -> RpcError:
        return RpcError(
            "disconnected", f"{self.path} closed the connection without answering {method!r}; see its log"
        )


def _listen(path: Path) -> socket.socket:
    address = _checked(path)
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        try:
            listener.bind(address)
        except FileNotFoundError as error:
            raise SocketPathError(
                f"{path}: the folder {path.parent} does not exist; create it first"
            ) from error
        path.chmod(0o600)  # before it listens: nobody can have connected yet
        listener.listen()
    except (OSError, SocketPathError):
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    """Removes the socket file that a dead process left. Raises `SocketPathError` for one in use."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketPathError(f"{path} exists and is not a socket; remove it or use another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:  # alive, with a full backlog
            pass
    raise SocketPathError(f"a process already listens on {path}; end it or use another path")


def _checked(path: Path) -> str:
    length = len(os.fsencode(path))
    if length > PATH_LIMIT_BYTES:
        raise SocketPathError(
            f"the socket path {path} is {length} bytes long, {PATH_LIMIT_BYTES} at most; use a shorter folder"
        )
    return str(path)


def _too_large(what: str) -> dict[str, str]:
    return {"kind": "too-large", "detail": f"{what} is longer than {MESSAGE_LIMIT_BYTES} bytes"}


def _encode(document: Document) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


async def _write(writer: asyncio.StreamWriter, request: int | None, key: str, body: object) -> None:
    line = _encode({"id": request, key: body})
    if len(line) > MESSAGE_LIMIT_BYTES:
        line = _encode({"id": request, "error": _too_large(f"the {key}")})
    writer.write(line)
    await writer.drain()
