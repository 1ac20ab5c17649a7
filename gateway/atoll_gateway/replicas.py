"""Balances requests over the replicas of the own region, straight to their addresses.

The table of replicas is a hint from Serve's status: a replica that refuses is ejected at once, whatever the table
says, and tried again after a pause that doubles while it keeps refusing. Who is ejected and who gets a request is
decided in `atoll.resilience.outlier`. Serve's own proxy is the way in while no replica is known by address. The
addresses of an origin are its replicas, and its table is the topology's.
"""

import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from atoll.clock import Clock
from atoll.resilience.outlier import Ejected, Host, Hosts
from atoll.topology import OutlierPolicy
from atoll.topology.wiring import Address
from atoll_gateway.upstream import Upstream

log = logging.getLogger("atoll.gateway.replicas")


class Replica(Host):
    """One replica that requests are sent to."""

    __slots__ = ("_group", "address", "upstream")

    def __init__(self, address: Address, upstream: Upstream, clock: Clock, group: "Group") -> None:
        super().__init__(clock)
        self.address = address
        self.upstream = upstream
        self._group = group

    def done(self) -> None:
        """A request that was sent here is over."""
        self._group.end(self)


class Group(Hosts[Replica]):
    """The replicas of one service."""

    __slots__ = ("service",)

    def __init__(
        self,
        service: str,
        clock: Clock,
        policy: OutlierPolicy,
        chance: random.Random,
        changed: Callable[["Group", Replica], None],
    ) -> None:
        super().__init__(clock, policy, chance, lambda replica: changed(self, replica))
        self.service = service


@dataclass(frozen=True, slots=True)
class ReplicaStatistics:
    """Replicas of a service as this gateway uses them. Counters run from the start of this process."""

    known: int
    ejected: int
    stalled: int
    """Of the ejected ones, those that don't answer when asked whether they are alive."""
    in_flight: int
    ejections: int
    panics: int
    """Requests given to an ejected replica because no live one was left."""


class Replicas:
    """All replicas of the own region, a group a service."""

    def __init__(
        self,
        connect: Callable[[Address], Upstream],
        clock: Clock,
        chance: random.Random,
        changed: Callable[[], None],
        policy: OutlierPolicy | None = None,
    ) -> None:
        """`changed` is called after each new table and ejection. An ejection that ends by time is not told of."""
        self._connect = connect
        self._clock = clock
        self._chance = chance
        self._changed = changed
        self._policy = policy or OutlierPolicy()
        self._groups: dict[str, Group] = {}
        self._proxy: tuple[Address, Upstream] | None = None
        self._origins: frozenset[str] = frozenset()
        self._known = False
        self.ask_anew: Callable[[], None] = lambda: None
        """Called when a replica was ejected: the table may be old."""

    def use(self, policy: OutlierPolicy) -> None:
        """Takes up another policy; ejections stay as they are."""
        self._policy = policy
        for group in self._groups.values():
            group.use(policy)

    def use_proxy(self, address: Address) -> None:
        """Names Serve's own proxy, for the time before any table is known."""
        self._proxy = (address, self._connect(address))

    def update(self, table: Mapping[str, tuple[Address, ...]]) -> None:
        """Takes up a new table of what runs on Serve. Replicas that stay keep their connections and their ejection."""
        self._known = True
        for service in self._groups.keys() | table.keys():
            if service not in self._origins:
                self._place(service, table.get(service, ()))
        self._changed()

    def use_origins(self, table: Mapping[str, tuple[Address, ...]]) -> None:
        """Takes up the addresses of the services of kind ``origin``, which no table of Serve's tells of."""
        gone = self._origins - table.keys()
        self._origins = frozenset(table)
        for service in gone:
            self._place(service, ())
        for service, addresses in table.items():
            self._place(service, addresses)
        self._changed()

    def of(self, service: str) -> Group:
        """The replicas of a service; the same group each time."""
        group = self._groups.get(service)
        if group is None:
            group = Group(service, self._clock, self._policy, self._chance, self._group_changed)
            self._groups[service] = group
            if self._proxy is not None and not self._known:
                group.join(Replica(*self._proxy, self._clock, group))
        return group

    @property
    def groups(self) -> Iterable[Group]:
        """All groups."""
        return self._groups.values()

    def live(self, service: str) -> int | None:
        """Replicas of a service that take requests now; None while no table is known."""
        if not self._known and service not in self._origins:
            return None
        group = self._groups.get(service)
        return 0 if group is None else group.live

    def in_flight(self, service: str) -> int:
        """Requests of a service that this gateway has with replicas now."""
        group = self._groups.get(service)
        return 0 if group is None else group.in_flight

    def statistics(self) -> Mapping[str, ReplicaStatistics]:
        """A snapshot a service."""
        return {service: _statistics(group) for service, group in self._groups.items()}

    def close(self) -> None:
        """Closes every connection."""
        for group in self._groups.values():
            for replica in group:
                replica.upstream.close()
        if self._proxy is not None:
            self._proxy[1].close()

    def _place(self, service: str, addresses: tuple[Address, ...]) -> None:
        group = self.of(service)
        stay: set[Address] = set()
        for replica in list(group):
            if replica.address in addresses and not self._is_proxy(replica):
                stay.add(replica.address)
                continue
            group.leave(replica)
            if not self._is_proxy(replica):
                replica.upstream.close_when_idle()
        for address in addresses:
            if address not in stay:
                stay.add(address)
                group.join(Replica(address, self._connect(address), self._clock, group))

    def _is_proxy(self, replica: Replica) -> bool:
        return self._proxy is not None and replica.upstream is self._proxy[1]

    def _group_changed(self, group: Group, replica: Replica) -> None:
        about = {"service": group.service, "replica": str(replica.address)}
        if replica.ejected is None:
            log.warning("replica is back", extra=about)
        else:
            log.warning("replica is ejected", extra={**about, "reason": str(replica.ejected)})
            self.ask_anew()
        self._changed()


def _statistics(group: Group) -> ReplicaStatistics:
    counted = group.statistics()
    return ReplicaStatistics(
        known=counted.known,
        ejected=counted.known - counted.live,
        stalled=sum(replica.ejected is Ejected.STALLED for replica in group),
        in_flight=counted.in_flight,
        ejections=counted.ejections,
        panics=counted.panics,
    )
