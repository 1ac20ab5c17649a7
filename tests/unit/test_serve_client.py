import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.unit.serve_documents import DATA, PROXY, wanted

from atoll.serve.client import (
    NotUnderstood,
    Refused,
    ServeClient,
    TokenUnreadable,
    Unreachable,
    read_token,
)
from atoll.serve.document import APPLICATION_SET
from atoll.topology.wiring import Address, ServeAccess

TOKEN = "sesame-0123456789"

Answer = Callable[[str, bytes], tuple[int, bytes]]


@asynccontextmanager
async def dashboard(answer: Answer, seen: list[str]) -> AsyncIterator[str]:
    """A listener that answers `answer(request line, body)`; heads are added to `seen`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.append(head)
        lengths = [
            line.partition(":")[2] for line in head.lower().splitlines() if line.startswith("content-length")
        ]
        body = await reader.readexactly(int(lengths[0])) if lengths else b""
        status, content = answer(head.splitlines()[0], body)
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode()
        )
        writer.write(content)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_reads_a_status_and_shows_its_token() -> None:
    seen: list[str] = []
    recorded = (DATA / "running.json").read_bytes()
    async with dashboard(lambda line, body: (200, recorded), seen) as url, ServeClient(url, TOKEN) as client:
        status = await client.applications()
    assert status.has_controller
    assert status.applications["two"].deployments["ingress"].running == 2
    assert seen[0].startswith("GET /api/serve/applications/ ")
    assert f"authorization: Bearer {TOKEN}" in seen[0].replace("Authorization", "authorization")


async def test_sends_the_whole_set() -> None:
    bodies: list[bytes] = []

    def answer(line: str, body: bytes) -> tuple[int, bytes]:
        bodies.append(body)
        return (200, b"") if line.startswith("PUT /api/serve/applications/ ") else (404, b"")

    async with dashboard(answer, []) as url, ServeClient(url, TOKEN) as client:
        await client.put(wanted())
    assert APPLICATION_SET.validate_json(bodies[0]) == wanted()
    assert json.loads(bodies[0])["applications"][0]["name"] == "one"


async def test_deletes_all() -> None:
    seen: list[str] = []
    async with dashboard(lambda line, body: (200, b""), seen) as url, ServeClient(url, TOKEN) as client:
        await client.delete_all()
    assert seen[0].startswith("DELETE /api/serve/applications/ ")


async def test_a_refusal_says_why_and_never_the_token() -> None:
    async with (
        dashboard(lambda line, body: (403, b"Forbidden: Invalid authentication token"), []) as url,
        ServeClient(url, TOKEN) as client,
    ):
        with pytest.raises(
            Refused, match=r"answered 403: Forbidden.*is this the token of that cluster"
        ) as caught:
            await client.applications()
    assert caught.value.status == 403
    assert TOKEN not in str(caught.value)
    assert TOKEN not in repr(client)


@pytest.mark.parametrize("content", [b"<html>", b'{"applications": 7}'])
async def test_what_is_no_status_is_not_understood(content: bytes) -> None:
    async with dashboard(lambda line, body: (200, content), []) as url, ServeClient(url, TOKEN) as client:
        with pytest.raises(NotUnderstood, match="no Serve status"):
            await client.applications()


async def test_nobody_there_is_unreachable_and_unhealthy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        async with ServeClient(f"http://127.0.0.1:{taken.getsockname()[1]}", TOKEN) as client:
            with pytest.raises(Unreachable, match="is the region's Ray head running"):
                await client.applications()
            assert not await client.healthy()


async def test_silence_is_unreachable() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # connects complete, nothing answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with ServeClient(url, TOKEN, status_timeout_s=0.1) as client:
            with pytest.raises(Unreachable, match="ReadTimeout"):
                await client.applications()


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [(200, b"success", True), (200, b"no", False), (503, b"success", False)],
)
async def test_healthy_means_that_the_gcs_is(status: int, content: bytes, expected: bool) -> None:
    async with (
        dashboard(lambda line, body: (status, content), []) as url,
        ServeClient(url, TOKEN) as client,
    ):
        assert await client.healthy() is expected


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with dashboard(lambda line, body: (200, b"success"), []) as url, ServeClient(url, TOKEN) as client:
        assert await client.healthy()


async def test_the_token_comes_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(TokenUnreadable, match=r"can't be read from .*token"):
        read_token(file)
    file.write_text("\n")
    with pytest.raises(TokenUnreadable, match="is empty"):
        read_token(file)
    file.write_text(f"{TOKEN}\n")
    assert read_token(file) == TOKEN
    seen: list[str] = []
    async with dashboard(lambda line, body: (200, b"success"), seen) as url:
        address = Address("127.0.0.1", int(url.rpartition(":")[2]))
        async with ServeClient.of(ServeAccess(address, file, None, PROXY)) as client:
            assert await client.healthy()
    assert TOKEN in seen[0]
