"""Faults on a region's embedded stores that the server itself has to be told of."""

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import RedisError

from atoll.cell.paths import RunPaths
from atoll.cell.valkey import CACHE_MAX_BYTES, STATE_MAX_BYTES, StoreKind
from atoll.cell.wiring import WardenConfig
from atoll.secrets import read_secret
from atoll.stores import connect, heeding_cancellation
from atoll.topology.wiring import Address

STARVED_BYTES = 1
"""Below what the server itself takes: `cache` evicts everything, `state` refuses every write."""
AGAIN_S = 0.5
"""A server that has started anew has forgotten what it was told."""


@dataclass(frozen=True, slots=True)
class EmbeddedStore:
    """How a store is told of something."""

    address: Address
    password_file: Path
    max_bytes: int

    async def limit(self, size: int) -> bool:
        """Sets what it may use; whether it took it up."""
        client = connect(self.address, read_secret(self.password_file))
        try:
            with heeding_cancellation():
                await client.config_set("maxmemory", size)
        except (RedisError, OSError):  # it is down, starts, or is not open yet
            return False
        else:
            return True
        finally:
            await client.aclose()


def embedded_stores(config: WardenConfig, kinds: Collection[StoreKind]) -> Mapping[str, EmbeddedStore]:
    """The stores that the warden runs, by the names of their processes."""
    paths = RunPaths(config.root).region(config.region)
    both = {
        StoreKind.CACHE: EmbeddedStore(config.ports.cache, paths.cache_password, CACHE_MAX_BYTES),
        StoreKind.STATE: EmbeddedStore(config.ports.state, paths.state_password, STATE_MAX_BYTES),
    }
    return {kind.value: both[kind] for kind in kinds}


class StoreFaults:
    """Which stores are starved."""

    def __init__(self, stores: Mapping[str, EmbeddedStore]) -> None:
        self._stores = stores
        self._starving: dict[str, asyncio.Task[None]] = {}

    @property
    def names(self) -> Collection[str]:
        return self._stores.keys()

    def starve(self, name: str) -> None:
        """The store may use no more memory, until healed; once it has started anew neither."""
        if name not in self._starving:
            self._starving[name] = asyncio.create_task(_starve(self._stores[name]))

    async def heal(self, name: str | None = None) -> None:
        """Ends the fault on a store (None: on all)."""
        for one in list(self._starving) if name is None else [name]:
            if (task := self._starving.pop(one, None)) is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                # One that is down starts with what its configuration says.
                await self._stores[one].limit(self._stores[one].max_bytes)


async def _starve(store: EmbeddedStore) -> None:
    while True:
        await store.limit(STARVED_BYTES)
        await asyncio.sleep(AGAIN_S)
