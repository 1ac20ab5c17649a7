"""The cache store on Valkey: each order is one call of a function of `library.lua`.

The library is part of what the store loses when it starts anew, so it is loaded again whenever it is missing.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import msgpack
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from atoll.cache.store import CacheStoreUnavailable, Dropped, Fill, Found, LeaseState, Place
from atoll.state.vector import Vector
from atoll.stores import heeding_cancellation

LIBRARY: Final = (Path(__file__).parent / "library.lua").read_text()
PULSE: Final = "c!pulse"
FUNCTIONS: Final = "atoll_cache_1_"

DROPS_AT_ONCE: Final = 200
"""A function blocks the store while it runs: more drops than this are several calls."""


class ValkeyCacheStore:
    """A region's cache store."""

    def __init__(self, client: Redis) -> None:
        """`client` may send an order again when its connection breaks: all may be repeated."""
        self._client = client

    async def get(self, place: Place, token: str, owner: str, lease_ms: int, unless: str = "") -> Found:
        answer = await self._call("get", *_keys(place), token, owner, lease_ms, unless)
        now_ms, heard_ms, entry, fill, lease = cast("tuple[int, int, bytes | None, bytes, bytes]", answer)
        return Found(
            now_ms=now_ms,
            heard_ms=None if heard_ms < 0 else heard_ms,
            entry=entry,
            fill=fill.decode(),
            lease=LeaseState(lease.decode()),
        )

    async def fill(self, place: Place, token: str, vector: Vector, entry: bytes, keep_ms: int) -> Fill:
        packed = cast("bytes", msgpack.packb(dict(vector)))
        answer = await self._call("fill", *_keys(place), token, packed, entry, keep_ms)
        return Fill(cast("bytes", answer).decode())

    async def release(self, place: Place, token: str, pause_ms: int) -> None:
        await self._call("release", [_record(place.namespace, place.key)], token, pause_ms)

    async def drop(self, dropped: Sequence[Dropped], floor_ms: int) -> None:
        for at in range(0, len(dropped), DROPS_AT_ONCE):
            part = dropped[at : at + DROPS_AT_ONCE]
            dots = [field for each in part for field in each.dot]
            keys = [_record(each.namespace, each.key) for each in part]
            await self._call("drop", keys, secrets.token_hex(4), floor_ms, *dots)

    async def flush(self, namespaces: Sequence[str]) -> None:
        if namespaces:
            await self._call("flush", [_generation(name) for name in namespaces], secrets.token_hex(4))

    async def pulse(self, heard_ms: int) -> int:
        return cast("int", await self._call("pulse", [PULSE], heard_ms))

    async def close(self) -> None:
        """Closes every connection."""
        await self._client.aclose()

    async def _call(self, name: str, keys: Sequence[str], *arguments: str | bytes | int) -> object:
        try:
            with heeding_cancellation():
                try:
                    return await self._client.fcall(FUNCTIONS + name, len(keys), *keys, *arguments)
                except ResponseError as error:
                    if "Function not found" not in str(error):
                        raise
                    await self._client.function_load(LIBRARY, replace=True)
                    return await self._client.fcall(FUNCTIONS + name, len(keys), *keys, *arguments)
        except (RedisError, OSError) as error:
            raise CacheStoreUnavailable(f"the cache store: {error}") from error


def _record(namespace: str, key: str) -> str:
    return f"c:{namespace}:{key}"


def _generation(namespace: str) -> str:
    return f"c!generation:{namespace}"


def _keys(place: Place) -> tuple[list[str], int]:
    """The keys of a place, and which of them, counted from 1, is the first that it depends on."""
    namespaces = dict.fromkeys((place.namespace, *(namespace for namespace, _ in place.depends)))
    keys = [_record(place.namespace, place.key), PULSE, *map(_generation, namespaces)]
    first = len(keys) + 1
    keys.extend(_record(*each) for each in place.depends)
    return keys, first
