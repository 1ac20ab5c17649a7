"""One region's state store alone, as a region has it, and what a replica there works with."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random

from atoll.cell.valkey import StoreKind, Valkey
from atoll.clock import SystemClock
from atoll.state.opening import open_store_epoch
from atoll.state.sdk.access import StateAccess
from atoll.state.valkey_store import ValkeyStore
from atoll.state.wiring import NamespaceWiring, StateWiring, write_state_wiring
from atoll.topology import DataType, Durability, Level
from atoll.topology.wiring import Address, StoreAccess, write_private
from loadtests.bench.workbench import Workbench, free_port

REGION = "here"
NAMESPACE = "views"
OPENING, PASSWORD = "0pen1ng", "b4d1dea"


@dataclass(frozen=True, slots=True)
class Single:
    """It is on disk before it answers, and nobody replicates it."""

    port: int
    access: StateAccess

    @property
    def store(self) -> ValkeyStore:
        store = self.access.regional.store
        assert isinstance(store, ValkeyStore)
        return store

    async def cut_log(self) -> None:
        """As an agent does when all regions have it."""
        last = (await self.store.vector()).latest(REGION)
        if last is not None:
            await self.store.trim(last)


@contextlib.asynccontextmanager
async def single(bench: Workbench) -> AsyncIterator[Single]:
    """A store of its own, empty and open."""
    folder = bench.folder / "state"
    folder.mkdir()
    address = Address("127.0.0.1", free_port())
    server = Valkey(StoreKind.STATE, address, folder)
    server.write_config(OPENING)
    bench.spawn("state", address.port, *server.argv)
    await open_store_epoch(address, OPENING, PASSWORD, REGION, "bench")
    secret = bench.folder / "state.secret"
    write_private(secret, PASSWORD.encode())
    access = StoreAccess(address=address, password_file=secret)
    wiring = StateWiring(
        region=REGION,
        zone="here",
        cache=access,
        state=access,
        agent=Address("127.0.0.1", 9),
        agent_token_file=secret,
        session_key_file=secret,
        namespaces={
            NAMESPACE: NamespaceWiring(Level.EVENTUAL, tuple(DataType), Durability.REGION, (REGION,))
        },
        revision=1,
        digest="",
    )
    file = bench.folder / "state.json"
    write_state_wiring(file, wiring)
    opened = StateAccess.open(file, SystemClock(), Random())
    try:
        await opened.regional.store.complete()
        yield Single(address.port, opened)
    finally:
        await opened.close()
