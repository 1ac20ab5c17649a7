"""Which gateways a region has now, kept in its cache store.

Gateways come and go with load and are nobody's to name. So each says every few seconds where it is, and who needs them
(the other gateways, agent and head) looks there. No decision waits for it: while the store is away, what was known goes
on, and a gateway that is named but gone merely gives no answer.
"""

from dataclasses import dataclass
from typing import cast

from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from atoll.node.wiring import GatewayAt
from atoll.stores import heeding_cancellation

KEY = "atoll:gateways"
"""A sorted set: gateways by when they were last there, in seconds of the store's clock."""
EVERY_S = 3.0
GONE_AFTER_S = 15
"""Five times missed."""

_GATEWAY: TypeAdapter[GatewayAt] = TypeAdapter(GatewayAt)


class DirectoryAway(Exception):
    """The store doesn't answer; says why."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A region's gateways, in its cache store."""

    store: Redis

    async def say(self, gateway: GatewayAt) -> None:
        """It is there now. Raises `DirectoryAway`."""
        try:
            with heeding_cancellation():
                now = await self._now()
                await self.store.zadd(KEY, {_GATEWAY.dump_json(gateway): now})
                await self.store.zremrangebyscore(KEY, "-inf", now - GONE_AFTER_S)
        except (RedisError, OSError) as error:
            raise DirectoryAway(str(error)) from error

    async def leave(self, gateway: GatewayAt) -> None:
        """It is about to go. Raises `DirectoryAway`."""
        try:
            with heeding_cancellation():
                await self.store.zrem(KEY, _GATEWAY.dump_json(gateway))
        except (RedisError, OSError) as error:
            raise DirectoryAway(str(error)) from error

    async def present(self) -> tuple[GatewayAt, ...]:
        """Those that were there lately, by name. Raises `DirectoryAway`."""
        try:
            with heeding_cancellation():
                oldest = await self._now() - GONE_AFTER_S
                found = cast(list[bytes], await self.store.zrangebyscore(KEY, oldest, "+inf"))
        except (RedisError, OSError) as error:
            raise DirectoryAway(str(error)) from error
        try:
            gateways = [_GATEWAY.validate_json(one) for one in found]
        except ValidationError as error:
            raise DirectoryAway(f"{KEY} holds what is no gateway: {error}") from error
        return tuple(sorted(gateways, key=lambda one: one.name))

    async def _now(self) -> int:
        """By the store's clock: machines' own differ."""
        seconds, _ = await self.store.time()
        return int(seconds)
