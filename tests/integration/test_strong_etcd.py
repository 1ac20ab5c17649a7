"""The etcd backend against a real etcd, where one is installed (Debian: `apt install etcd-server`)."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.integration.ports import free_port
from tests.unit.strong_local import battery

from atoll.clock import SystemClock
from atoll.state.strong.etcd import Etcd

pytestmark = [
    pytest.mark.skipif(shutil.which("etcd") is None, reason="no etcd on this machine (Debian: etcd-server)"),
    pytest.mark.timeout(240),
]


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[str]:
    url, peer = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        "etcd",
        *("--data-dir", str(folder / "etcd"), "--name", "one", "--log-level", "error"),
        *("--listen-client-urls", url, "--advertise-client-urls", url),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        *("--initial-cluster", f"one={peer}"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient() as client, asyncio.timeout(60):
            while not await _ready(client, url):
                await asyncio.sleep(0.05)
        yield url
    finally:
        process.kill()
        await process.wait()


async def _ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/health")).is_success
    except httpx.TransportError:
        return False


async def test_the_battery(tmp_path: Path) -> None:
    async with running(tmp_path) as url, httpx.AsyncClient() as client:
        await battery(Etcd(client, [url], SystemClock()))
