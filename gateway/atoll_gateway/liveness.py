"""Finds replicas that are frozen: they hold requests, answer nothing, and refuse nothing.

A replica that owes answers and has given none for a while may be slow or stuck. So it is asked, on a connection of its
own, whether it is alive; any answer over HTTP will do. If there is none, twice, it is ejected until there is one, and
requests that may be sent again are taken back from it. The others wait to their deadline: they may yet be executed.
"""

import asyncio
import contextlib
from collections.abc import Callable

from atoll.clock import Clock
from atoll.resilience.balance import SEVERAL
from atoll.resilience.health import STALL_S
from atoll.topology import OutlierPolicy
from atoll.topology.wiring import Address
from atoll_gateway.headers import write_head
from atoll_gateway.replicas import Group, Replica, Replicas
from atoll_gateway.upstream import Upstream
from atoll_gateway.upstream_errors import Abandoned, ConnectRefused, UpstreamError

SWEEP_S = 0.25
"""How often replicas are looked at, and how often a stalled one is asked again."""

PROBES = 2
"""A single lost packet must not make a replica dead; two lost ones in a row are rare (Envoy asks three times)."""

LONGEST = 10.0
"""A replica whose answers usually take long is asked later, but never later than this many times `stall_s`."""

PROBE = write_head("GET", b"/-/healthz", [(b"host", b"replica"), (b"connection", b"close")])
"""Serve's replicas have this path; an origin may answer 404."""


class Liveness:
    """Watches the replicas of the own region."""

    def __init__(
        self,
        replicas: Replicas,
        connect: Callable[[Address], Upstream],
        clock: Clock,
        policy: OutlierPolicy,
    ) -> None:
        self._replicas = replicas
        self._connect = connect
        self._clock = clock
        self._policy = policy
        self._asked: set[Replica] = set()
        self._awake_since = clock.monotonic()

    def use(self, policy: OutlierPolicy) -> None:
        """Takes up another policy."""
        self._policy = policy

    async def watch(self) -> None:
        """Looks at every replica, again and again, until cancelled."""
        last = self._awake_since = self._clock.monotonic()
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(SWEEP_S)
                now = self._clock.monotonic()
                if now - last > SWEEP_S + STALL_S:
                    self._awake_since = now  # this process stood still and has not listened
                last = now
                for service, replica in self._silent(now):
                    self._asked.add(replica)
                    group.create_task(self._ask(service, replica))

    def _silent(self, now: float) -> list[tuple[Group, Replica]]:
        """Replicas that owe answers for too long, and are not asked yet."""
        stall_s = self._policy.stall_s
        if now - self._awake_since < stall_s:
            return []
        return [
            (group, replica)
            for group in self._replicas.groups
            for replica in group
            if replica.silent_s(now) > min(max(stall_s, SEVERAL * replica.latency_s), LONGEST * stall_s)
            and replica not in self._asked
        ]

    async def _ask(self, group: Group, replica: Replica) -> None:
        began = self._clock.monotonic()
        try:
            for _ in range(PROBES):
                if await self._lives(group, replica) or replica.answered_at > began:
                    return
            group.stalled(replica)
            found = (
                f"{replica.address} has not answered for {replica.silent_s(self._clock.monotonic()):.1f} s"
            )
            replica.upstream.fail_all(Abandoned(found), repeatable=True)
            while replica.present:
                await asyncio.sleep(SWEEP_S)
                with contextlib.suppress(ConnectRefused):
                    if await self._lives(group, replica):
                        return
        except ConnectRefused:
            group.refused(replica)  # it takes no more requests; those that it has may yet be answered
        finally:
            self._asked.discard(replica)

    async def _lives(self, group: Group, replica: Replica) -> bool:
        """Whether the replica answers within `stall_s`. Raises `ConnectRefused` if nobody is there."""
        probe = self._connect(replica.address)
        try:
            async with asyncio.timeout(self._policy.stall_s):
                await probe.send(PROBE, None, method="GET")
        except ConnectRefused:
            raise
        except (UpstreamError, TimeoutError):
            return False
        finally:
            probe.close()
        group.alive(replica)
        return True
