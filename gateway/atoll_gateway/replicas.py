"""Balances requests over the replicas of the own region, straight to their addresses.

The table of replicas is a hint from Serve's status: a replica that refuses is ejected at once, whatever the table
says, and tried again after a pause that doubles while it keeps refusing. Serve's own proxy is the way in while no
replica is known by address.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from atoll.clock import Clock
from atoll.topology.wiring import Address
from atoll_gateway.upstream import Upstream

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0


@dataclass(slots=True)
class Replica:
    """One replica that requests are sent to."""

    address: Address
    upstream: Upstream
    in_flight: int = 0
    ejected_until: float = 0.0
    pause_s: float = FIRST_PAUSE_S


@dataclass(frozen=True, slots=True)
class ReplicaStatistics:
    """Replicas of a service as this gateway uses them."""

    known: int
    ejected: int
    in_flight: int
    ejections: int


@dataclass(slots=True)
class _Group:
    replicas: dict[Address, Replica] = field(default_factory=dict)
    ejections: int = 0
    in_flight: int = 0


class Replicas:
    """All replicas of the own region, a group a service."""

    def __init__(
        self,
        connect: Callable[[Address], Upstream],
        clock: Clock,
        chance: random.Random,
        changed: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._chance = chance
        self._changed = changed
        self._groups: dict[str, _Group] = {}
        self._proxy: Replica | None = None
        self._known = False
        self.ask_anew: Callable[[], None] = lambda: None
        """Called when a replica was ejected: the table may be old."""

    def use_proxy(self, address: Address) -> None:
        """Names Serve's own proxy, for the time before any table is known."""
        self._proxy = Replica(address, self._connect(address))

    def update(self, table: Mapping[str, tuple[Address, ...]]) -> None:
        """Takes up a new table. Replicas that stay keep their connections and their ejection."""
        self._known = True
        for service in self._groups.keys() | table.keys():
            group = self._groups.setdefault(service, _Group())
            wanted = table.get(service, ())
            for address in group.replicas.keys() - set(wanted):
                group.replicas.pop(address).upstream.close_when_idle()
            for address in wanted:
                if address not in group.replicas:
                    group.replicas[address] = Replica(address, self._connect(address))
        self._changed()

    def live(self, service: str) -> int | None:
        """Replicas of a service that take requests now; None while no table is known."""
        if not self._known:
            return None
        now = self._clock.monotonic()
        group = self._groups.get(service)
        return (
            0 if group is None else sum(replica.ejected_until <= now for replica in group.replicas.values())
        )

    def pick(self, service: str, avoid: frozenset[Address] = frozenset()) -> Replica | None:
        """The less busy of two replicas drawn at random (Mitzenmacher, "The Power of Two Choices", 2001)."""
        if not self._known:
            return self._proxy if self._proxy is None or self._proxy.address not in avoid else None
        group = self._groups.get(service)
        if group is None:
            return None
        now = self._clock.monotonic()
        live = [
            replica
            for address, replica in group.replicas.items()
            if replica.ejected_until <= now and address not in avoid
        ]
        if len(live) <= 1:
            return live[0] if live else None
        one, other = self._chance.sample(live, 2)  # in random order, so equals take turns
        return one if one.in_flight <= other.in_flight else other

    def begin(self, service: str, replica: Replica) -> None:
        """Counts a request that is about to be sent."""
        replica.in_flight += 1
        self._groups.setdefault(service, _Group()).in_flight += 1

    def end(self, service: str, replica: Replica) -> None:
        """Counts a request as done, whatever came of it."""
        replica.in_flight -= 1
        self._groups[service].in_flight -= 1

    def answered(self, replica: Replica) -> None:
        """The replica has answered, so the next refusal starts from the shortest pause again."""
        replica.pause_s = FIRST_PAUSE_S

    def eject(self, service: str, replica: Replica) -> None:
        """The replica refused a connection: no request goes there until its pause is over."""
        if replica is self._proxy:
            return
        replica.ejected_until = self._clock.monotonic() + replica.pause_s
        replica.pause_s = min(2 * replica.pause_s, LONGEST_PAUSE_S)
        self._groups[service].ejections += 1
        self._changed()
        self.ask_anew()

    def in_flight(self, service: str) -> int:
        """Requests of a service that this gateway has with replicas now."""
        group = self._groups.get(service)
        return 0 if group is None else group.in_flight

    def statistics(self) -> Mapping[str, ReplicaStatistics]:
        """A snapshot a service."""
        now = self._clock.monotonic()
        return {
            service: ReplicaStatistics(
                known=len(group.replicas),
                ejected=sum(replica.ejected_until > now for replica in group.replicas.values()),
                in_flight=group.in_flight,
                ejections=group.ejections,
            )
            for service, group in self._groups.items()
        }

    def close(self) -> None:
        """Closes every connection."""
        replicas = [replica for group in self._groups.values() for replica in group.replicas.values()]
        for replica in replicas + ([self._proxy] if self._proxy else []):
            replica.upstream.close()
