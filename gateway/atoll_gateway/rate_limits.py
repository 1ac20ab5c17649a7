"""The rate limits of services and of their clients, and how the gateways of a region settle them among themselves.

Each gateway decides alone and at once. In the background it adds what its keys used to counters in the region's cache
store and learns from the same answer what the other gateways' requests used, one round trip every `SHARE_S`. Together
they admit about one limit; without the store each admits its own, and nothing waits (static stability).
"""

import asyncio
import logging
import socket
from collections.abc import Iterable, Mapping
from heapq import nlargest
from math import ceil
from operator import itemgetter

from redis.asyncio import Redis
from redis.exceptions import RedisError

from atoll.clock import Clock
from atoll.resilience.ratelimit import RateLimit, RateLimitStatistics
from atoll.stores import heeding_cancellation
from atoll.topology import Rate, Topology
from atoll_gateway.message import Headers

log = logging.getLogger("atoll.gateway.rate-limits")

SHARE_S = 0.2
"""How late one gateway learns what another admitted. (LiteLLM settles its limits through Redis every second.)"""

MOST_SHARED = 256
"""Keys settled in one round trip, those that used most: the others are the furthest from their limit."""

KEPT_S = 10
"""A counter that nobody added to for so long is forgotten, here and in the store."""

WHOLE_SERVICE = ""
"""The key of a service's own limit."""


class ServiceLimits:
    """The limits of one service."""

    __slots__ = ("_policy", "_rates", "client", "service")

    def __init__(
        self, clock: Clock, service: Rate | None, client: Rate | None, *, shared: bool = False
    ) -> None:
        """`shared`: they are settled with other gateways."""
        self._rates = (service, client)
        self.service = None if service is None else RateLimit(clock, service, shared=shared)
        self.client = None if client is None else RateLimit(clock, client, shared=shared)
        policies = [
            _policy(name, limit.rate)
            for name, limit in (("client", self.client), ("service", self.service))
            if limit is not None
        ]
        self._policy = (b"ratelimit-policy", ", ".join(policies).encode())

    def same(self, service: Rate | None, client: Rate | None) -> bool:
        """Whether these limits are of these rates."""
        return self._rates == (service, client)

    def take(self, key: str | None) -> float:
        """Admits a request of a client (None for one that has been counted), which is 0.0; or says when, in seconds."""
        if self.client is not None and key is not None:
            wait = self.client.take(key)
            if wait > 0.0:
                return wait
        if self.service is not None:
            wait = self.service.take(WHOLE_SERVICE)
            if wait > 0.0:
                if self.client is not None and key is not None:
                    self.client.give_back(key)
                return wait
        return 0.0

    def headers(self, key: str | None) -> Headers:
        """What is left, for the client to see (draft-ietf-httpapi-ratelimit-headers-11)."""
        if self.client is not None and key is not None:
            left = b'"client";r=%d;t=%d' % self.client.left(key)
            if self.service is not None:
                left += b', "service";r=%d;t=%d' % self.service.left(WHOLE_SERVICE)
        elif self.service is not None:
            left = b'"service";r=%d;t=%d' % self.service.left(WHOLE_SERVICE)
        else:
            return []
        return [self._policy, (b"ratelimit", left)]

    def parts(self) -> Iterable[tuple[str, RateLimit]]:
        """The limits by what they limit."""
        if self.service is not None:
            yield "service", self.service
        if self.client is not None:
            yield "client", self.client


class RateLimits:
    """The limits of all services that have any."""

    def __init__(self, clock: Clock, cache: Redis | None) -> None:
        """`cache` is the region's cache store; without one (an entry has none) each gateway is by itself."""
        self._clock = clock
        self._cache = cache
        self._seen: dict[str, tuple[int, float]] = {}
        """The sum in the store by its key as it was last read here, and when."""
        self.services: dict[str, ServiceLimits] = {}

    def use(self, topology: Topology) -> None:
        """Takes up a topology. Limits that stay as they were go on counting."""
        limited: dict[str, ServiceLimits] = {}
        for service in topology.services.values():
            if service.rate is None and service.client_rate is None:
                continue
            limits = self.services.get(service.name)
            if limits is None or not limits.same(service.rate, service.client_rate):
                shared = self._cache is not None
                limits = ServiceLimits(self._clock, service.rate, service.client_rate, shared=shared)
            limited[service.name] = limits
        self.services = limited

    async def share(self) -> None:
        """Settles the limits with the region's other gateways until cancelled; closes the store then."""
        store = self._cache
        if store is None:
            return
        answers = True
        try:
            while True:
                await asyncio.sleep(SHARE_S)
                answered = await self._settle(store)
                if answered is not None and answered != answers:
                    answers = answered
                    log.warning(
                        "the cache store answers again" if answers else "the cache store does not answer",
                        extra={"consequence": "limits are the region's" if answers else "limits are my own"},
                    )
        finally:
            await store.aclose()

    def statistics(self) -> Mapping[tuple[str, str], RateLimitStatistics]:
        """A snapshot a limit, by service and by what is limited: ``service`` or ``client``."""
        return {
            (name, kind): limit.statistics()
            for name, limits in self.services.items()
            for kind, limit in limits.parts()
        }

    async def _settle(self, store: Redis) -> bool | None:
        """One round trip; whether the store answered, None if there was nothing to ask.

        What could not be told is forgotten: told later, it would be charged to others at a time it does not belong to.
        """
        used = [
            (limit, f"atoll:rate:{name}:{kind}:{key}", key, count)
            for name, limits in self.services.items()
            for kind, limit in limits.parts()
            for key, count in limit.collect().items()
        ]
        if not used:
            return None
        if len(used) > MOST_SHARED:
            used = nlargest(MOST_SHARED, used, key=itemgetter(3))
        pipeline = store.pipeline(transaction=False)
        for _, stored_as, _, count in used:
            pipeline.incrby(stored_as, count)  # type: ignore[unused-awaitable]  # queued; `execute` awaits them all
            pipeline.expire(stored_as, KEPT_S)  # type: ignore[unused-awaitable]
        try:
            with heeding_cancellation():
                sums: list[int] = (await pipeline.execute())[::2]
        except (RedisError, OSError):
            self._seen.clear()  # what others do meanwhile is never charged at once
            return False
        now = self._clock.monotonic()
        for (limit, stored_as, key, count), total in zip(used, sums, strict=True):
            seen, at = self._seen.get(stored_as, (0, -KEPT_S))
            self._seen[stored_as] = (total, now)
            others = total - seen - count
            if now - at < KEPT_S and others > 0:
                limit.charge(key, others)
        self._forget(now)
        return True

    def _forget(self, now: float) -> None:
        """Drops sums that are as old as the store keeps them."""
        if len(self._seen) > 1024:
            self._seen = {key: (total, at) for key, (total, at) in self._seen.items() if now - at < KEPT_S}


def client_key(address: str) -> str:
    """What a client is counted by: its IPv4 address, or the /64 of its IPv6 address, which is one subscriber's."""
    if ":" not in address:
        return address
    try:
        packed = socket.inet_pton(socket.AF_INET6, address)
    except OSError:
        return address
    return address.rpartition(":")[2] if packed.startswith(_MAPPED) else packed[:8].hex()


_MAPPED = b"\0" * 10 + b"\xff\xff"
"""Before an IPv4 address that is written as an IPv6 one."""


def _policy(name: str, rate: Rate) -> str:
    """One item of ``RateLimit-Policy``: a quota in a window of whole seconds that is never more than is admitted."""
    window = max(1, ceil(rate.burst / rate.per_s))
    return f'"{name}";q={max(rate.burst, int(rate.per_s * window))};w={window}'
