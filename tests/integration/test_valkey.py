"""The embedded stores, as real servers: who is let in, what is kept, what a restart brings back."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from redis.exceptions import AuthenticationError, OutOfMemoryError

from atoll.cell.backoff import RestartPolicy
from atoll.cell.managed import ManagedProcess, ProcessSpec
from atoll.cell.valkey import StoreKind, Valkey
from atoll.clock import SystemClock
from atoll.stores import StoreRefused, connect, ping
from atoll.topology.wiring import Address

PASSWORD = "b4d1dea"

pytestmark = pytest.mark.timeout(240)


@asynccontextmanager
async def running(kind: StoreKind, folder: Path) -> AsyncIterator[tuple[Valkey, ManagedProcess]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = Valkey(kind, Address("127.0.0.1", port), folder)
    server.write_config(PASSWORD)

    async def ready() -> bool:
        async with connect(server.address, PASSWORD) as store:
            return await ping(store)

    spec = ProcessSpec(kind.value, server.argv, {}, folder / "log", ready)
    process = ManagedProcess(spec, SystemClock(), Random(), RestartPolicy(base_s=0.05, cap_s=0.1))
    task = asyncio.create_task(process.run())
    try:
        async with asyncio.timeout(60):
            await process.wait_ready()
        yield server, process
    finally:
        await process.stop()
        await task


async def test_nobody_gets_in_without_the_password(tmp_path: Path) -> None:
    async with running(StoreKind.STATE, tmp_path) as (server, process):
        for password in ("", "wrong"):
            async with connect(server.address, password) as store:
                with pytest.raises(AuthenticationError):
                    await store.set("key", "value")
                with pytest.raises(StoreRefused):
                    await ping(store)
        command = Path(f"/proc/{process.status().pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{process.status().pid}/environ").read_bytes()
        assert PASSWORD.encode() not in command + environment
        assert process.log is not None and PASSWORD not in process.log.read_text()
        assert stat.S_IMODE(server.config_file.stat().st_mode) == 0o600


async def test_the_state_store_syncs_every_write_and_refuses_rather_than_evicts(tmp_path: Path) -> None:
    async with running(StoreKind.STATE, tmp_path) as (server, _), connect(server.address, PASSWORD) as store:
        for name, value in {
            "appendonly": "yes",
            "appendfsync": "always",
            "aof-load-truncated": "no",
            "no-appendfsync-on-rewrite": "no",
            "maxmemory-policy": "noeviction",
            "bind": "127.0.0.1",
        }.items():
            assert (await store.config_get(name))[name] == value
        await store.config_set("maxmemory", "1")
        with pytest.raises(OutOfMemoryError):
            await store.set("key", "value")


async def test_a_killed_state_store_comes_back_with_all_it_acknowledged(tmp_path: Path) -> None:
    async with running(StoreKind.STATE, tmp_path) as (server, process):
        async with connect(server.address, PASSWORD) as store:
            for number in range(200):
                await store.set(f"key{number}", number)
        await _killed_and_back(process)
        async with connect(server.address, PASSWORD) as store:
            assert await store.dbsize() == 200
            assert await store.get("key199") == b"199"


async def test_a_killed_cache_comes_back_empty(tmp_path: Path) -> None:
    async with running(StoreKind.CACHE, tmp_path) as (server, process):
        async with connect(server.address, PASSWORD) as store:
            await store.set("key", "value")
            assert (await store.config_get("maxmemory-policy"))["maxmemory-policy"] == "allkeys-lfu"
        await _killed_and_back(process)
        async with connect(server.address, PASSWORD) as store:
            assert await store.dbsize() == 0


async def test_a_store_that_is_not_there_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with connect(Address("127.0.0.1", port), PASSWORD) as store:
        assert await ping(store) is False


async def _killed_and_back(process: ManagedProcess) -> None:
    process.kill()
    async with asyncio.timeout(60):
        await process.wait_ended()
        process.heal()
        await process.wait_ready()
