"""Faults on a region's embedded stores that the server itself has to be told of."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from atoll.cell.paths import RunPaths
from atoll.cell.requests import Fault
from atoll.cell.valkey import CACHE_MAX_BYTES, STATE_MAX_BYTES, StoreKind
from atoll.cell.wiring import WardenConfig
from atoll.secrets import read_secret
from atoll.state.errors import StateError
from atoll.state.valkey_calls import Calls
from atoll.stores import connect, heeding_cancellation
from atoll.topology.wiring import Address

STARVED_BYTES = 1
"""Below what the server itself takes: `cache` evicts everything, `state` refuses every write."""
AGAIN_S = 0.5
"""A server that has started anew has forgotten what it was told."""
HEAL_S = 10.0
"""A server that says nothing for so long after a heal is down, and will have forgotten."""


@dataclass(frozen=True, slots=True)
class EmbeddedStore:
    """How a store is told of something."""

    address: Address
    password_file: Path
    max_bytes: int

    async def limit(self, size: int) -> bool:
        """Sets what it may use; whether it took it up."""
        return await self._told(lambda client: client.config_set("maxmemory", size))

    async def skew(self, by_ms: int) -> bool:
        """Has its wall clock be off; whether it took it up. Only a state store that has been opened does."""
        return await self._told(lambda client: Calls(client).function("skew", by_ms))

    async def _told(self, tell: Callable[[Redis], Awaitable[object]]) -> bool:
        client = connect(self.address, read_secret(self.password_file))
        try:
            with heeding_cancellation():
                await tell(client)
        except (RedisError, OSError, StateError):  # it is down, starts, or is not open yet
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


Tell = Callable[[], Awaitable[bool]]
"""Tells a store of something; whether it took it up."""


class StoreFaults:
    """What stores are told, again and again until they are healed."""

    def __init__(self, stores: Mapping[str, EmbeddedStore]) -> None:
        self._stores = stores
        self._telling: dict[str, dict[Fault, tuple[asyncio.Task[None], Tell]]] = {}
        """Store -> what tells it, and what takes it back."""

    @property
    def names(self) -> Collection[str]:
        return self._stores.keys()

    def starve(self, name: str) -> None:
        """The store may use no more memory, until healed; once it has started anew neither."""
        store = self._stores[name]
        self._keep(
            name, Fault.STARVE, partial(store.limit, STARVED_BYTES), partial(store.limit, store.max_bytes)
        )

    def skew(self, name: str, by_ms: int) -> None:
        """A state store's wall clock is so far ahead, or behind if `by_ms` is below zero, until healed."""
        store = self._stores[name]
        self._keep(name, Fault.SKEW, partial(store.skew, by_ms), partial(store.skew, 0))

    async def heal(self, name: str | None = None) -> None:
        """Ends the faults on a store (None: on all)."""
        for one in list(self._telling) if name is None else [name]:
            for task, take_back in self._telling.pop(one, {}).values():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HEAL_S):
                        await _until_taken_up(take_back)

    def _keep(self, name: str, kind: Fault, tell: Tell, take_back: Tell) -> None:
        told = self._telling.setdefault(name, {})
        if kind in told:
            told[kind][0].cancel()
        told[kind] = (asyncio.create_task(_again_and_again(tell)), take_back)


async def _again_and_again(tell: Tell) -> None:
    while True:
        await tell()
        await asyncio.sleep(AGAIN_S)


async def _until_taken_up(tell: Tell) -> None:
    while not await tell():  # noqa: ASYNC110  another process can't set an event
        await asyncio.sleep(AGAIN_S)
