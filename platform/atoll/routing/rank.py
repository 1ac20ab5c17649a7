"""The order in which regions are tried: residency, then health, then rings by round-trip time, then score.

The score is what reaching a region is expected to cost in milliseconds; **smaller is better**, and only
scores of one ring compare. It is the round-trip time and what the region is slower than usual
(`atoll.routing.slowness`), doubled where nobody knows yet whether the region has
replicas: the attempt may come back refused and then has to be made again elsewhere. So a region with
unknown replicas goes behind its equals, but keeps its ring, and the gateway's own region stays first,
because asking it costs nothing.

This order says which region is preferred. How much of the traffic the preferred one keeps is load's
business: `atoll.routing.spill` gives a ranking shares, and `Ranking.draw` draws by them.
"""

import random
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from atoll.topology import RoutingPolicy, Service

NO_REASONS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RegionView:
    """What a gateway knows of a region, for one service, at one moment."""

    region: str
    zone: str
    rtt_ms: float
    """Round-trip time from this gateway in milliseconds, zero for its own region."""
    healthy: bool
    health_reason: str
    """Why it is not healthy, in words: ``silent for 1.6 s``, ``connection refused``."""
    draining: bool
    replicas: int | None
    """Ready replicas of the service there; None if not known yet."""
    ejected: int = 0
    """Replicas that are there but left out for a while, because they failed."""
    capacity: int | None = None
    """Requests that the region takes at once; None if not known, or not heard lately."""
    in_flight: int = 0
    """Requests under way there now, those of all its gateways together."""
    delay_ms: float = 0.0
    """How much slower than usual it is, on the way there or in its replicas."""
    tried_again: bool = False
    """It was left because it was slow, and gets a little to see whether it still is."""

    @property
    def cost_ms(self) -> float:
        """What rings go by: an answer from there takes this much longer than one from an idle region at hand."""
        return self.rtt_ms + self.delay_ms

    @property
    def utilization(self) -> float | None:
        """Requests in flight / capacity; None if that is not known."""
        return self.in_flight / self.capacity if self.capacity else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One region in a decision."""

    region: str
    eligible: bool
    ring: int | None
    """0 is the nearest; None for a region that is left out."""
    rtt_ms: float
    score: float
    """Expected cost in milliseconds, smaller is better; compares within a ring."""
    reason: str
    """Why it stands where it stands, or why it is left out."""
    utilization: float | None = None
    """Requests in flight / capacity; None if not known."""
    share: float | None = None
    """The share of requests that try this region first; None in a ranking that says nothing of shares."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """A decision: every region that was considered, the eligible ones first and best first."""

    candidates: tuple[Candidate, ...]
    panic: bool
    """No region was in a state to serve, so all that may be tried are: fail open, as Envoy's panic
    threshold and AWS Global Accelerator do. What is known of health may be wrong, and an error would be
    certain. Residency, placement and a known lack of replicas hold all the same."""
    regions: tuple[str, ...] = field(init=False)
    """Names of the eligible regions, in order."""
    _turns: tuple[tuple[float, tuple[str, ...]], ...] | None = field(
        init=False, repr=False, compare=False, default=None
    )
    """Up to which number which order is drawn; None if it is always the same one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "regions", tuple(c.region for c in self.candidates if c.eligible))

    def draw(self, chance: random.Random) -> tuple[str, ...]:
        """The order in which one request tries the regions: the first drawn by the shares, then the rest in order.

        Costs nothing while one region has everything, which is how it normally is.
        """
        turns = self._turns
        if turns is None:
            return self.regions
        point = chance.random()
        for upto, order in turns:
            if point < upto:
                return order
        return turns[-1][1]

    def shared(self, shares: Mapping[str, float], reasons: Mapping[str, str] = NO_REASONS) -> "Ranking":
        """This ranking with shares that sum to one; a region that is not named has none.

        `reasons` is what is to be added to why a region stands where it stands.
        """
        ranking = replace(
            self,
            candidates=tuple(
                replace(
                    one, share=shares.get(one.region, 0.0), reason=one.reason + reasons.get(one.region, "")
                )
                for one in self.candidates
            ),
        )
        if shares.get(self.regions[0], 0.0) < 1.0:
            object.__setattr__(ranking, "_turns", tuple(_turns(self.regions, shares)))
        return ranking


def rank(
    service: Service, zones: frozenset[str], views: Sequence[RegionView], policy: RoutingPolicy
) -> Ranking:
    """Ranks the regions for a request of `service` that may be executed in `zones`.

    `views` holds each region once, in any order. The result depends on nothing else and ties are broken by
    name, so two gateways that know the same decide the same, and a ranking may be kept for as long as the
    views stay as they are.

    Left out always: regions outside `zones`, regions where the service isn't placed, regions known to have
    no replica. Left out while any region is healthy, not draining and has a replica that isn't ejected: all
    others. Otherwise (`Ranking.panic`) they are tried: draining ones that are healthy first, then those whose
    replicas are all ejected, then the unhealthy, each group in rings of its own.
    """
    return order(views, zones=zones, placed=service.regions, policy=policy)


def order(
    views: Iterable[RegionView], *, zones: frozenset[str], placed: Container[str], policy: RoutingPolicy
) -> Ranking:
    """The ranking that routing and steering share; `placed` are the regions that have what is looked for."""
    fit: list[RegionView] = []
    unfit: list[RegionView] = []
    out: list[tuple[RegionView, str]] = []
    for view in views:
        obstacle = _obstacle(view, zones, placed)
        if obstacle is not None:
            out.append((view, obstacle))
        elif view.healthy and not view.draining and view.replicas != 0:
            fit.append(view)
        else:
            unfit.append(view)

    if not policy.failover and (known := (*fit, *unfit)):
        nearest = min(known, key=lambda view: (view.rtt_ms, view.region))
        out.extend((view, "failover is turned off") for view in known if view is not nearest)
        fit, unfit = [nearest], []

    panic = not fit and bool(unfit)
    if panic:
        groups: tuple[list[RegionView], ...] = ([], [], [])
        for view in unfit:
            groups[2 if not view.healthy else view.replicas == 0].append(view)
        eligible = tuple(one for group in groups for one in _eligible(group, policy, panic))
    else:
        eligible = tuple(_eligible(fit, policy, panic))
        out.extend((view, _ailment(view)) for view in unfit)
    out.sort(key=lambda pair: (pair[0].rtt_ms, pair[0].region))
    left_out = (_candidate(view, None, reason) for view, reason in out)
    return Ranking((*eligible, *left_out), panic)


def _obstacle(view: RegionView, zones: frozenset[str], placed: Container[str]) -> str | None:
    """What keeps a region from serving, however healthy it is: the first obstacle that there is."""
    if view.zone not in zones:
        allowed = ", ".join(sorted(zones))
        return f"zone {view.zone} is not allowed" + (f", only {allowed}" if allowed else ", nor is any other")
    if view.region not in placed:
        return "not placed here"
    if view.replicas == 0 and not view.ejected:
        return "no ready replica"
    return None


def _ailment(view: RegionView) -> str:
    if not view.healthy:
        return f"unhealthy: {view.health_reason}"
    return "draining" if view.replicas != 0 else "all its replicas are ejected"


def _eligible(views: Iterable[RegionView], policy: RoutingPolicy, panic: bool) -> Iterator[Candidate]:
    ranked = sorted(_rings(views, policy), key=lambda pair: (pair[0], _score(pair[1]), pair[1].region))
    for ring, view in ranked:
        reason = f"ring {ring}, {view.rtt_ms:.1f} ms"
        if view.delay_ms:
            reason += f" and {view.delay_ms:.0f} ms slower than usual"
        if view.replicas is None:
            reason += ", replicas not known yet"
        if view.capacity:
            reason += f", {view.in_flight / view.capacity:.0%} full"
        if panic:
            reason += f", tried although {_ailment(view)}"
        yield _candidate(view, ring, reason)


def _candidate(view: RegionView, ring: int | None, reason: str) -> Candidate:
    return Candidate(
        region=view.region,
        eligible=ring is not None,
        ring=ring,
        rtt_ms=view.rtt_ms,
        score=_score(view),
        reason=reason,
        utilization=view.utilization,
    )


def _rings(views: Iterable[RegionView], policy: RoutingPolicy) -> Iterator[tuple[int, RegionView]]:
    """Puts regions in rings, outward: a ring holds all that is about as near as its nearest member."""
    ring = -1
    reach_ms = float("-inf")
    for view in sorted(views, key=lambda view: view.cost_ms):
        if view.cost_ms > reach_ms:
            ring += 1
            reach_ms = policy.ring_factor * view.cost_ms + policy.ring_slack_ms
        yield ring, view


def _score(view: RegionView) -> float:
    return view.cost_ms if view.replicas is not None else 2 * view.cost_ms


def _turns(regions: Sequence[str], shares: Mapping[str, float]) -> Iterator[tuple[float, tuple[str, ...]]]:
    upto = 0.0
    for region in regions:
        share = shares.get(region, 0.0)
        if share > 0.0:
            upto += share
            yield upto, (region, *(other for other in regions if other != region))
