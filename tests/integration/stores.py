"""State stores for the harness of gateways: real Valkey servers that can be killed, frozen and looked into."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from tests.integration.ports import free_port

from atoll.cell.valkey import StoreKind, Valkey
from atoll.stores import open_store, ping
from atoll.topology.wiring import Address, StoreAccess

PASSWORD = "b4d1dea"


@dataclass(slots=True)
class Store:
    """One server and its process."""

    server: Valkey
    access: StoreAccess
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns when it answers."""
        self.process = await asyncio.create_subprocess_exec(
            *self.server.argv, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(60), self.client() as client:
            while not await ping(client):
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """As a crash does."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
            self.process = None

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def client(self) -> Redis:
        return open_store(self.access)

    async def content(self) -> dict[bytes, Mapping[bytes | str, bytes | str]]:
        """Every key with its fields."""
        async with self.client() as client:
            return {name: await client.hgetall(name) async for name in client.scan_iter()}


@contextlib.asynccontextmanager
async def state_stores(folder: Path, regions: tuple[str, ...]) -> AsyncIterator[Mapping[str, Store]]:
    """A running state store a region."""
    stores: dict[str, Store] = {}
    for region in regions:
        home = folder / f"{region}-state"
        home.mkdir()
        password = home / "password"
        password.write_text(PASSWORD)
        password.chmod(0o600)
        address = Address("127.0.0.1", free_port())
        server = Valkey(StoreKind.STATE, address, home)
        server.write_config(PASSWORD)
        stores[region] = Store(server, StoreAccess(None, address, password))
    try:
        await asyncio.gather(*(store.start() for store in stores.values()))
        yield stores
    finally:
        for store in stores.values():
            await store.kill()
