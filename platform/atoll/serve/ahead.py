"""How many replicas a region starts ahead of the load that a lost region's clients will bring. Pure.

Serve adds replicas once it has seen load for seconds, and they take seconds more to start. But the gateways of a region
know at once that another one is lost, what it had in flight, and who takes it over (`atoll.routing.ahead`). So the
least that Serve keeps is raised at that moment, and let go of again when Serve sees the load itself.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from atoll.clock import Clock
from atoll.routing import taken_over
from atoll.topology import Service, Topology

SMOOTH_S = 3.0
"""Time constant of averaging what regions have in flight: a count of 20 is off by 4 to 5 by chance."""
HOLD_S = 15.0
"""What was raised is kept so much longer than there is need: a region that comes and goes starts no replica twice, and
one that has grown gives Serve's own average time to follow."""
PATIENCE_S = 60.0
"""Load that has not come for so long after the last client was steered anew (`Steering.ttl_s`) does not come."""


@dataclass(frozen=True, slots=True)
class RegionSeen:
    """A region as the gateways of this one see it."""

    trusted: bool
    """Whether requests may go there: it is healthy and not draining."""
    in_flight: Mapping[str, int] = field(default_factory=dict)
    """Requests a service that its replicas work on; without those of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Raise:
    """More replicas of a service, because of regions that were lost together."""

    service: str
    replicas: int
    """So many at least, in all."""
    lost: frozenset[str]
    own: float
    """Requests in flight here before."""
    more: float
    """Requests in flight that are to come."""


@dataclass(frozen=True, slots=True)
class AheadStatistics:
    """A snapshot: what holds, and how often something was raised since the start of this process."""

    raises: tuple[Raise, ...]
    raised: int


@dataclass(slots=True)
class _Held:
    """A raise, and since when there is no need of it any more."""

    what: Raise
    since: float
    idle_since: float | None = None


class Ahead:
    """Decides for one region. Give it every look at the regions, one or two a second; it returns what Serve is to keep.

    A raise ends `HOLD_S` after the lost regions are back and have ramped up, or after so much load is here that Serve
    keeps as many by itself; or when the load has not come. Until then it does not change. Of several the largest holds.
    """

    def __init__(self, region: str, clock: Clock) -> None:
        self._region = region
        self._clock = clock
        self._at: float | None = None
        self._trusted: frozenset[str] = frozenset()
        self._loads: dict[str, dict[str, float]] = {}
        """Region -> service -> requests in flight, averaged; of a lost region, what it had."""
        self._held: list[_Held] = []
        self._raised = 0

    def look(self, topology: Topology, seen: Mapping[str, RegionSeen]) -> Mapping[str, int]:
        """The least replicas of each service that is to have more than the topology says.

        `seen` are the regions, the own one included, as they are seen now; one that is left out stays what it was. What
        was lost before the first look is not known to be lost.
        """
        now = self._clock.monotonic()
        trusted = (self._trusted - seen.keys()) | {region for region, one in seen.items() if one.trusted}
        lost = (self._trusted - trusted - {self._region}) & topology.regions.keys()
        self._trusted = trusted
        if lost and self._region in trusted and topology.autoscaling.ahead:
            self._foresee(topology, lost, topology.regions.keys() - trusted, now)
        self._measure(seen, trusted, now)
        self._let_go(topology, trusted, now)
        wanted: dict[str, int] = {}
        for held in self._held:
            wanted[held.what.service] = max(held.what.replicas, wanted.get(held.what.service, 0))
        return wanted

    def statistics(self) -> AheadStatistics:
        return AheadStatistics(tuple(held.what for held in self._held), self._raised)

    def _measure(self, seen: Mapping[str, RegionSeen], trusted: frozenset[str], now: float) -> None:
        weight = 1.0 if self._at is None else 1.0 - math.exp((self._at - now) / SMOOTH_S)
        self._at = now
        for region in seen.keys() & trusted:
            before = self._loads.get(region, {})
            self._loads[region] = before | {
                service: before[service] + weight * (count - before[service])
                if service in before
                else float(count)
                for service, count in seen[region].in_flight.items()
            }

    def _foresee(self, topology: Topology, lost: frozenset[str], out: Collection[str], now: float) -> None:
        for service in topology.deployed_in(self._region):
            loads = {region: known.get(service.name, 0.0) for region, known in self._loads.items()}
            more = taken_over(topology, service, lost, out, loads).get(self._region, 0.0)
            own = loads.get(self._region, 0.0)
            replicas = _replicas(service, own + more)
            if more > 0.0 and replicas > service.replicas.minimum:
                self._raised += 1
                self._held.append(_Held(Raise(service.name, replicas, lost, own, more), now))

    def _let_go(self, topology: Topology, trusted: frozenset[str], now: float) -> None:
        own = self._loads.get(self._region, {})
        patience_s = topology.steering.ttl_s + PATIENCE_S
        stay: list[_Held] = []
        for held in self._held:
            service = topology.services.get(held.what.service)
            if service is None or not topology.autoscaling.ahead or now - held.since >= patience_s:
                continue
            returned = held.what.lost <= trusted
            here = _replicas(service, own.get(service.name, 0.0)) >= held.what.replicas
            if not (returned or here):
                held.idle_since = None
            elif held.idle_since is None:
                held.idle_since = now
            hold_s = HOLD_S + (topology.routing.ramp_s if returned else 0.0)
            if held.idle_since is None or now - held.idle_since < hold_s:
                stay.append(held)
        self._held = stay


def _replicas(service: Service, load: float) -> int:
    """What Serve would want for so many requests in flight."""
    replicas = service.replicas
    return max(replicas.minimum, min(replicas.maximum, math.ceil(load / replicas.target_in_flight)))
