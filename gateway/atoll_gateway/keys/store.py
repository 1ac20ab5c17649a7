"""Records of keys in a region's state store.

A record is one hash, ``atoll:key:{<record name>}``, so each is on one shard of a clustered store:

    v            1; the version of this format
    state        in-flight, complete or unknown
    fingerprint  of the first request
    token        the claim that owns it: gateway, process and number
    lease        until when it counts as in flight, milliseconds of the store's clock
    answer       of a complete one: a line of JSON, then the body

Scripts make each step atomic; the rules are those of `atoll.resilience.idempotency.Records`. Leases and times to live
run on the store's own clock, so gateways need not agree on the time. The store is a state store: it acknowledges what
is on disk and never evicts. One that is full refuses claims; what was claimed can always be settled.
"""

import asyncio
from collections.abc import Awaitable
from typing import cast

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError, ResponseError

from atoll.resilience.idempotency import Claim, Claimed, Settlement, Standing
from atoll.stores import heeding_cancellation
from atoll_gateway.keys.contract import KeysUnavailable

WAIT_S = 0.5
"""The longest that an order waits for the store."""

PREFIX = "atoll:key:"

_CLAIM = """
local found = redis.call('HMGET', KEYS[1], 'state', 'fingerprint', 'lease', 'token')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if not found[1] then
  redis.call('HSET', KEYS[1], 'v', 1, 'state', 'in-flight', 'fingerprint', ARGV[1], 'token', ARGV[2],
    'lease', string.format('%.0f', now + ARGV[3]))
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  return {'claimed', ''}
end
if found[2] ~= ARGV[1] then return {'reused', ''} end
if found[1] == 'complete' then return {'complete', redis.call('HGET', KEYS[1], 'answer')} end
if found[1] == 'in-flight' and found[4] == ARGV[2] then return {'claimed', ''} end
if found[1] == 'in-flight' and now < tonumber(found[3]) then return {'in-flight', ''} end
return {'unknown', ''}
"""

# A full store must still take the answer to what it let be executed.
_SETTLE = """#!lua flags=allow-oom
local found = redis.call('HMGET', KEYS[1], 'token', 'state')
if found[1] ~= ARGV[1] then return 0 end
if ARGV[2] == 'release' then
  redis.call('DEL', KEYS[1])
elseif ARGV[2] == 'complete' then
  redis.call('HSET', KEYS[1], 'state', 'complete', 'answer', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
elseif found[2] == 'in-flight' then
  redis.call('HSET', KEYS[1], 'state', 'unknown')
end
return 1
"""


class StoreKeys:
    """The own region's records."""

    def __init__(self, store: Redis, wait_s: float = WAIT_S) -> None:
        """`store` may send an order again when its connection breaks: both may be repeated."""
        self._store = store
        self._wait_s = wait_s
        self._claim: AsyncScript = store.register_script(_CLAIM)
        self._settle: AsyncScript = store.register_script(_SETTLE)

    async def claim(self, claim: Claim) -> Claimed:
        reply = await self._answered(
            self._claim(
                keys=[_name(claim)], args=[claim.fingerprint, claim.token, claim.lease_ms, claim.expire_ms]
            )
        )
        standing, answer = cast("tuple[bytes, bytes]", reply)
        return Claimed(Standing(standing.decode()), answer)

    async def settle(self, claim: Claim, settlement: Settlement, answer: bytes = b"") -> bool:
        reply = await self._answered(
            self._settle(keys=[_name(claim)], args=[claim.token, settlement.value, answer, claim.expire_ms])
        )
        return bool(reply)

    async def close(self) -> None:
        """Closes every connection."""
        await self._store.aclose()

    async def _answered(self, order: Awaitable[object]) -> object:
        try:
            async with asyncio.timeout(self._wait_s):
                with heeding_cancellation():
                    return await order
        except ResponseError as error:
            raise KeysUnavailable(f"the state store refused: {error}", sent=False) from error
        except (RedisError, OSError, TimeoutError) as error:
            reason = str(error) or f"no answer within {self._wait_s:g} s"
            refused = isinstance(error.__context__, ConnectionRefusedError)
            raise KeysUnavailable(f"the state store: {reason}", sent=not refused) from error


def _name(claim: Claim) -> str:
    return f"{PREFIX}{{{claim.record}}}"
