"""Faults on the embedded stores, with real servers: a full disk, no memory left, a wrong clock."""

import asyncio
import contextlib
import time
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import OutOfMemoryError, RedisError
from tests.integration.state_stores import IDENTITY, OPENING, StateServer, state_server
from tests.integration.state_stores import PASSWORD as STATE_PASSWORD
from tests.integration.test_valkey import PASSWORD, running

from atoll.cell.managed import ManagedProcess
from atoll.cell.store_faults import EmbeddedStore, StoreFaults
from atoll.cell.valkey import CACHE_MAX_BYTES, STATE_MAX_BYTES, StoreKind, Valkey
from atoll.state.errors import StateError
from atoll.state.opening import open_store_epoch
from atoll.state.valkey_store import ValkeyStore
from atoll.stores import connect

pytestmark = pytest.mark.timeout(120)


async def _writes(server: Valkey, value: str) -> bool:
    """Whether a write is acknowledged."""
    async with connect(server.address, PASSWORD) as store:
        try:
            return bool(await store.set("key", value))
        except (RedisError, OSError):
            return False


async def _until_written(server: Valkey, value: str) -> None:
    async with asyncio.timeout(120):
        while not await _writes(server, value):
            await asyncio.sleep(0.05)


async def test_a_full_disk_acknowledges_nothing_and_loses_nothing(tmp_path: Path) -> None:
    async with running(StoreKind.STATE, tmp_path) as (server, process):
        await _until_written(server, "before")
        process.fill()
        for _ in range(20):
            assert not await _writes(server, "while it is full"), (
                "it starts anew meanwhile, and is as full as before"
            )
            await asyncio.sleep(0.05)
        process.heal()
        async with asyncio.timeout(120):
            while await _value(server) is None:
                await asyncio.sleep(0.05)
        assert await _value(server) == b"before"
        await _until_written(server, "after")


async def _value(server: Valkey) -> bytes | None:
    async with connect(server.address, PASSWORD) as store:
        try:
            found = await store.get("key")
        except (RedisError, OSError):
            return None
    assert found is None or isinstance(found, bytes)
    return found


async def test_a_disk_with_room_takes_writes(tmp_path: Path) -> None:
    """The control: the same store, and no fault on it."""
    async with running(StoreKind.STATE, tmp_path) as (server, process):
        await _until_written(server, "before")
        process.heal()
        assert all([await _writes(server, "still") for _ in range(20)])
        assert process.restarts == 0


def faults_on(server: Valkey, folder: Path, max_bytes: int) -> StoreFaults:
    password = folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    return StoreFaults({"store": EmbeddedStore(server.address, password, max_bytes)})


async def _limit(server: Valkey) -> int:
    async with connect(server.address, PASSWORD) as store:
        return int(str((await store.config_get("maxmemory"))["maxmemory"]))


async def _until_limited(server: Valkey, size: int) -> None:
    async with asyncio.timeout(120):
        while True:
            try:
                if await _limit(server) == size:
                    return
            except (Disconnected, OSError):
                pass
            await asyncio.sleep(0.05)


async def test_a_starved_state_store_refuses_writes_and_answers_reads(tmp_path: Path) -> None:
    async with running(StoreKind.STATE, tmp_path) as (server, process):
        await _until_written(server, "before")
        faults = faults_on(server, tmp_path, STATE_MAX_BYTES)
        faults.starve("store")
        await _until_limited(server, 1)
        async with connect(server.address, PASSWORD) as store:
            with pytest.raises(OutOfMemoryError):
                await store.set("key", "while it starves")
        assert await _value(server) == b"before"
        await _restarted(process)
        await _until_limited(server, 1)
        await faults.heal()
        assert await _limit(server) == STATE_MAX_BYTES
        await _until_written(server, "after")


async def test_a_starved_cache_keeps_nothing_and_recovers(tmp_path: Path) -> None:
    async with running(StoreKind.CACHE, tmp_path) as (server, _):
        await _until_written(server, "before")
        faults = faults_on(server, tmp_path, CACHE_MAX_BYTES)
        faults.starve("store")
        await _until_limited(server, 1)
        await _writes(server, "anything makes it evict")
        assert await _value(server) is None
        await faults.heal()
        await _until_written(server, "after")
        assert await _value(server) == b"after"


async def _restarted(process: ManagedProcess) -> None:
    process.kill()
    await process.wait_ended()
    process.heal()
    async with asyncio.timeout(120):
        await process.wait_ready()


async def test_a_state_store_whose_clock_is_off_stamps_so_until_it_is_healed(tmp_path: Path) -> None:
    async with state_server(tmp_path) as server:
        password = tmp_path / "password"
        password.write_text(STATE_PASSWORD)
        password.chmod(0o600)
        faults = StoreFaults({"state": EmbeddedStore(server.address, password, STATE_MAX_BYTES)})
        await _open(server)
        async with server.store() as store:
            assert abs(await _off_ms(store)) < FAR_MS / 2, "the control"
            faults.skew("state", 20 * FAR_MS)
            await _until_off(store, 20 * FAR_MS)
            await server.kill()
            await server.start()
            await _open(server)
            await _until_off(store, 20 * FAR_MS)
            faults.skew("state", -20 * FAR_MS)  # another one takes its place
            await _until_off(store, -20 * FAR_MS)
            await faults.heal("state")
            assert abs(await _off_ms(store)) < FAR_MS / 2


FAR_MS = 60_000


async def _open(server: StateServer) -> None:
    assert await open_store_epoch(server.address, OPENING, STATE_PASSWORD, "eu", IDENTITY)


async def _off_ms(store: ValkeyStore) -> float:
    return (await store.clocks()).wall_ms - time.time() * 1000


async def _until_off(store: ValkeyStore, by_ms: float) -> None:
    async with asyncio.timeout(120):
        while True:
            with contextlib.suppress(StateError):
                if abs(await _off_ms(store) - by_ms) < FAR_MS:
                    return
            await asyncio.sleep(0.05)
