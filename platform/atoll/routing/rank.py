"""The order in which regions are tried: residency, then health, then rings by round-trip time, then score.

The score is what reaching a region is expected to cost in milliseconds; **smaller is better**, and only
scores of one ring compare. It is the round-trip time, doubled where nobody knows yet whether the region has
replicas: the attempt may come back refused and then has to be made again elsewhere. So a region with
unknown replicas goes behind its equals, but keeps its ring, and the gateway's own region stays first,
because asking it costs nothing.

Load spill and hysteresis will change two places here and no other: `_rings` (how much of a ring may be
filled before the next one opens) and `_score` (what a loaded region costs more).
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from atoll.topology import RoutingPolicy, Service


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

    def __post_init__(self) -> None:
        object.__setattr__(self, "regions", tuple(c.region for c in self.candidates if c.eligible))


def rank(
    service: Service, zones: frozenset[str], views: Sequence[RegionView], policy: RoutingPolicy
) -> Ranking:
    """Ranks the regions for a request of `service` that may be executed in `zones`.

    `views` holds each region once, in any order. The result depends on nothing else and ties are broken by
    name, so two gateways that know the same decide the same, and a ranking may be kept for as long as the
    views stay as they are.

    Left out always: regions outside `zones`, regions where the service isn't placed, regions known to have
    no replica. Left out while any region is healthy and not draining: all that aren't. Otherwise
    (`Ranking.panic`) they are tried: draining ones that are healthy first, then the unhealthy, each group in
    rings of its own.
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
        elif view.healthy and not view.draining:
            fit.append(view)
        else:
            unfit.append(view)

    panic = not fit and bool(unfit)
    if panic:
        alive = [view for view in unfit if view.healthy]
        rest = [view for view in unfit if not view.healthy]
        eligible = (*_eligible(alive, policy, panic), *_eligible(rest, policy, panic))
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
    if view.replicas == 0:
        return "no ready replica"
    return None


def _ailment(view: RegionView) -> str:
    return f"unhealthy: {view.health_reason}" if not view.healthy else "draining"


def _eligible(views: Iterable[RegionView], policy: RoutingPolicy, panic: bool) -> Iterator[Candidate]:
    ranked = sorted(_rings(views, policy), key=lambda pair: (pair[0], _score(pair[1]), pair[1].region))
    for ring, view in ranked:
        reason = f"ring {ring}, {view.rtt_ms:.1f} ms"
        if view.replicas is None:
            reason += ", replicas not known yet"
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
    )


def _rings(views: Iterable[RegionView], policy: RoutingPolicy) -> Iterator[tuple[int, RegionView]]:
    """Puts regions in rings, outward: a ring holds all that is about as near as its nearest member."""
    ring = -1
    reach_ms = float("-inf")
    for view in sorted(views, key=lambda view: view.rtt_ms):
        if view.rtt_ms > reach_ms:
            ring += 1
            reach_ms = policy.ring_factor * view.rtt_ms + policy.ring_slack_ms
        yield ring, view


def _score(view: RegionView) -> float:
    return view.rtt_ms if view.replicas is not None else 2 * view.rtt_ms
