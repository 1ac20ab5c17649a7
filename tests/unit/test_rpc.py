"""Calls over a unix socket: results, progress, errors, limits, and the socket's file."""

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from atoll.rpc import (
    MESSAGE_LIMIT_BYTES,
    Client,
    Document,
    Progress,
    RpcError,
    Server,
    SocketPathError,
    serve,
    serve_streaming,
)


@pytest.fixture
def path() -> Iterator[Path]:  # short, since a socket's path is limited
    with TemporaryDirectory(prefix="rpc") as folder:
        yield Path(folder) / "s"


async def handle(method: str, params: Document, progress: Progress) -> Document:
    match method:
        case "echo":
            return params
        case "count":
            for number in range(3):
                await progress({"number": number})
            return {"counted": 3}
        case "refuse":
            raise RpcError("no-such-thing", "there is no such thing; try another")
        case "crash":
            raise ZeroDivisionError
        case "huge":
            return {"text": "x" * MESSAGE_LIMIT_BYTES}
    raise AssertionError(method)


@pytest.fixture
async def server(path: Path) -> AsyncIterator[Server]:
    async with await serve_streaming(path, handle) as server:
        yield server


def write(path: Path, text: str) -> None:
    path.write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


async def failure(client: Client, method: str, params: Document | None = None) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await client.call(method, params)
    return caught.value


async def test_a_call_returns_the_result(server: Server) -> None:
    assert await Client(server.path).call("echo", {"deep": [1, {"a": None}]}) == {"deep": [1, {"a": None}]}
    assert await Client(server.path).call("echo") == {}


async def test_a_plain_handler_needs_no_progress(path: Path) -> None:
    async def plain(method: str, params: Document) -> Document:
        return {"method": method, **params}

    async with await serve(path, plain):
        assert await Client(path).call("m", {"a": 1}) == {"method": "m", "a": 1}


async def test_a_stream_yields_progress_and_ends_with_the_result(server: Server) -> None:
    seen = [document async for document in Client(server.path).stream("count", {})]
    assert seen == [{"number": 0}, {"number": 1}, {"number": 2}, {"counted": 3}]
    assert await Client(server.path).call("count") == {"counted": 3}


async def test_a_handlers_error_reaches_the_caller_with_its_kind(server: Server) -> None:
    error = await failure(Client(server.path), "refuse")
    assert (error.kind, error.detail) == ("no-such-thing", "there is no such thing; try another")


async def test_a_crash_of_the_handler_is_a_disconnect_and_the_server_lives_on(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await failure(Client(server.path), "crash")).kind == "disconnected"
    assert await Client(server.path).call("echo", {"still": "here"}) == {"still": "here"}
    assert "ZeroDivisionError" in caplog.text


async def test_too_large_messages_are_refused_both_ways(server: Server) -> None:
    assert (
        await failure(Client(server.path), "echo", {"text": "x" * MESSAGE_LIMIT_BYTES})
    ).kind == "too-large"
    assert (await failure(Client(server.path), "huge")).kind == "too-large"


async def test_the_server_bounds_what_it_reads(server: Server) -> None:
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(b"x" * (2 * MESSAGE_LIMIT_BYTES))
    answer = json.loads(await reader.readline())
    assert answer["error"]["kind"] == "too-large"
    writer.close()


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"id": 1}\n', b'{"id": 1, "method": "echo", "more": 1}\n'])
async def test_a_bad_request_is_told_and_the_connection_goes_on(server: Server, line: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(line)
    assert json.loads(await reader.readline())["error"]["kind"] == "bad-request"
    writer.write(b'{"id": 7, "method": "echo", "params": {"a": 1}}\n')
    assert json.loads(await reader.readline()) == {"id": 7, "result": {"a": 1}}
    writer.close()


async def test_calls_run_side_by_side(path: Path) -> None:
    both = asyncio.Barrier(2)

    async def meet(_method: str, _params: Document) -> Document:
        await both.wait()
        return {}

    async with await serve(path, meet), asyncio.timeout(10):
        await asyncio.gather(Client(path).call("meet"), Client(path).call("meet"))


async def test_a_request_runs_to_its_end_without_its_client(path: Path) -> None:
    started, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(_method: str, _params: Document, progress: Progress) -> Document:
        started.set()
        await go_on.wait()
        await progress({"still": "working"})
        await progress({"still": "working"})
        ended.set()
        return {}

    async with await serve_streaming(path, slow), asyncio.timeout(10):
        call = asyncio.create_task(Client(path).call("slow"))
        await started.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        go_on.set()
        await ended.wait()


async def test_nobody_listening_is_unavailable(path: Path) -> None:
    error = await failure(Client(path), "echo")
    assert error.kind == "unavailable"
    assert str(path) in error.detail


async def test_closing_cancels_calls_and_removes_the_file(path: Path) -> None:
    started = asyncio.Event()

    async def forever(_method: str, _params: Document) -> Document:
        started.set()
        await asyncio.Event().wait()
        return {}

    server = await serve(path, forever)
    call = asyncio.create_task(Client(path).call("wait"))
    await started.wait()
    await server.close()
    with pytest.raises(RpcError, match="disconnected"):
        await call
    assert content(path.parent) == {}


async def test_only_the_owner_may_connect(server: Server) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600


async def test_a_dead_process_file_is_replaced_and_a_live_one_is_not(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    async with await serve_streaming(path, handle):
        with pytest.raises(SocketPathError, match="already listens"):
            await serve_streaming(path, handle)
        assert await Client(path).call("echo", {"a": 1}) == {"a": 1}


async def test_a_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    write(path, "mine")
    with pytest.raises(SocketPathError, match="not a socket"):
        await serve_streaming(path, handle)
    assert content(path.parent) == {"s": "mine"}


async def test_unusable_paths_are_told(path: Path) -> None:
    too_long = path.parent / ("x" * 120)
    with pytest.raises(SocketPathError, match="107"):
        await serve_streaming(too_long, handle)
    with pytest.raises(SocketPathError, match="107"):
        await Client(too_long).call("echo")
    with pytest.raises(SocketPathError, match="does not exist"):
        await serve_streaming(path.parent / "none" / "s", handle)
