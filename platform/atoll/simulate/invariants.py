"""What must hold in every run, whatever the faults: the design's invariants, checked against what happened.

The oracle of avoidable errors. A request that may be sent twice, whose gateway lived and whose client stayed, has ended
in an error. The error was avoidable if there is a region that

- may execute it (residency) and runs the service,
- was healthy from the request's beginning to its end: no fault on any of its parts then, nor in the time before that
  the health policy asks for until a peer is trusted again (`recovery_s`): until then it is not healthy by definition,
- could be reached from the gateway: no fault on the links there and back, in the same time,
- had room: its replicas worked on less than `ROOM` of what requests of this criticality may take of what they can work
  on at once,

and the request was stopped neither by the budget (none was refused while it lived, at its gateway for its service) nor
by `max_attempts`. There is no grace for the time that the detection of a fault takes: a replay-safe request can be
tried elsewhere. What is granted is a deadline: a request that ran out of time is avoidable only if it had `detection_s`
more than the answer would have taken, because a silence is told from a slow answer by nothing but time; and if hedging
is switched off, an attempt that is slow, and not silent, is waited for, as was asked.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

from atoll.resilience.criticality import Criticality
from atoll.simulate.cell import LISTED_AFTER_S
from atoll.simulate.record import Kind, Outcome, Peaks, Record, RequestRecord, Spans
from atoll.simulate.scenario import FaultKind, Scenario
from atoll.topology import HealthPolicy, Service

ROOM = 0.5
"""Of what a region's replicas work on at once; below that none waits but by a bad draw."""

WINDOW_S = 10.0

SWING = 0.4
"""A share of traffic has swung if it went up and down again by this much."""

SWINGS = 3
"""So many swings of one region within a calm `WINDOW_S` are an oscillation."""

SETTLED_S = 5.0
"""After a change shares may move for so long, and for the ramp."""

FILLED = 0.6
"""Of what a region takes: a ramp starts at a tenth and is at a third after its first quarter; chance adds to that."""

FULL = 0.9
"""Of what a region takes: above that others have no room to wait with."""

LEAST_TO_COMPARE = 20
"""Requests of a criticality; rates of fewer say nothing."""

SIGMAS = 4.0
"""Rates differ if they are so many standard deviations apart: by chance one pair in 30,000 is."""

_NONE = Spans()


class Invariant(StrEnum):
    """What must hold."""

    NO_AVOIDABLE_ERROR = "no avoidable error"
    ZONES = "no request outside its zones"
    ONCE = "what may not be repeated is executed once at most"
    AMPLIFICATION = "further attempts within the budget"
    CALM = "no oscillation"
    CRITICALITY = "the least critical are shed first"
    PROBES = "an open breaker lets one probe in at a time, and in the end somebody"
    RAMP = "a region that came back is filled up slowly"
    CONSERVATION = "every request ends once, every place is given back"
    RUNS = "nothing raises what nobody expects"
    EXPECTATION = "as the scenario expects"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that did not hold."""

    invariant: Invariant
    at_s: float
    detail: str


def check(scenario: Scenario, record: Record) -> list[Violation]:
    """Everything that did not hold in a run, by time."""
    found = [
        *_avoidable(scenario, record),
        *_outside(scenario, record),
        *_twice(record),
        *_amplified(scenario, record),
        *_swings(scenario, record),
        *_out_of_order(record),
        *_filled_at_once(scenario, record),
        *_unbalanced(scenario, record),
    ]
    return sorted(found, key=lambda violation: violation.at_s)


def detection_s(policy: HealthPolicy) -> float:
    """What it takes at most until a silent peer is taken to be down: the silence, and a tick's delay on either side."""
    return policy.silence_s + 2 * policy.probe_interval_s


def recovery_s(policy: HealthPolicy) -> float:
    """What it takes at most until a region that came back is trusted by a gateway that probes it: the probes in a row,
    the wait for the first of them, and Serve's status, which lists a replica a while after it came up.
    """
    return LISTED_AFTER_S + (policy.recovery_probes + 2) * policy.probe_interval_s


def _avoidable(scenario: Scenario, record: Record) -> Iterator[Violation]:
    for request in record.requests:
        assert request.outcome is not None
        if not request.outcome.error or not request.safe:
            continue
        service = scenario.topology.services[request.service]
        if request.heads >= service.max_attempts:
            continue
        awake = request.started - recovery_s(scenario.topology.health)
        if record.stalls.get(request.gateway, _NONE).touch(awake, request.ended):
            continue
        if record.denials[request.gateway, request.service].touch(request.started, request.ended):
            continue
        if request.outcome is Outcome.TIMEOUT and not scenario.topology.hedge.enabled:
            asked = {request.replica, *(attempt.region for attempt in request.attempts[-1:])}
            silent = (record.frozen.get(name, _NONE) for name in asked)
            if not any(spans.touch(request.started, request.ended) for spans in silent):
                continue
        for region in _sound(scenario, record, request, service):
            yield Violation(
                Invariant.NO_AVOIDABLE_ERROR,
                request.started,
                f"request {request.number} ({request.service}, {request.kind}, {request.criticality.name.lower()}) at "
                f"{request.gateway}: {request.outcome} after {request.ended - request.started:.3f} s, "
                f"{request.detail or 'no reason'}; {region} was sound, reachable and had room; "
                f"attempts: {_told(request)}",
            )
            break


def _sound(scenario: Scenario, record: Record, request: RequestRecord, service: Service) -> Iterator[str]:
    """Regions that could have answered."""
    topology = scenario.topology
    recovery = recovery_s(topology.health)
    bulkhead = topology.bulkhead
    shares = (bulkhead.sheddable_share, bulkhead.default_share, 1.0)
    begin, end = request.started, request.ended
    if record.born[request.gateway] > begin - recovery:
        return  # its gateway has just started, and knows nobody yet
    if request.outcome is Outcome.TIMEOUT:
        work = scenario.works[service.name]
        needs = detection_s(topology.health) + 4 * work.median_s
    else:
        needs = 0.0
    for region in service.regions:
        if topology.regions[region].zone not in request.zones:
            continue
        rtt_s = 0.0 if region == request.region else record.rtts_s[request.region, region]
        before = begin - recovery - rtt_s
        if record.trouble.get(region, _NONE).touch(before, end):
            continue
        if region != request.region:
            ways = ((request.region, region), (region, request.region))
            if any(record.cuts.get(way, _NONE).touch(before, end) for way in ways):
                continue
        if request.timeout_s < needs + 2 * rtt_s:
            continue
        key = (region, service.name)
        room = max(1, int(ROOM * shares[request.criticality] * record.capacity[key]))
        if record.load[key].highest(begin - Peaks.SLICE_S, end) >= room:
            continue
        yield region


def _told(request: RequestRecord) -> str:
    return ", ".join(f"{attempt.region} {attempt.outcome}" for attempt in request.attempts) or "none"


def _outside(scenario: Scenario, record: Record) -> Iterator[Violation]:
    regions = scenario.topology.regions
    for request in record.requests:
        for region in request.executed_in:
            if regions[region].zone not in request.zones:
                yield Violation(
                    Invariant.ZONES,
                    request.started,
                    f"request {request.number} was executed in {region}, zone {regions[region].zone}; "
                    f"allowed: {', '.join(sorted(request.zones))}",
                )


def _twice(record: Record) -> Iterator[Violation]:
    for request in record.requests:
        if request.kind is Kind.POST and len(request.executed_in) > 1:
            yield Violation(
                Invariant.ONCE,
                request.started,
                f"request {request.number} is no GET and has no key, and was executed in "
                f"{' and '.join(request.executed_in)}",
            )


def _amplified(scenario: Scenario, record: Record) -> Iterator[Violation]:
    """Each gateway by itself keeps to its budget in every 10 s that end with a further attempt, to the letter; and so
    do all together, against the requests that were under way in these 10 s.

    Further attempts are counted when their heads go out, refused ones not.
    """
    policy = scenario.topology.retry
    floor = WINDOW_S * policy.floor_per_s
    by_budget: dict[tuple[str, str], list[RequestRecord]] = defaultdict(list)
    for request in record.requests:
        by_budget[request.gateway, request.service].append(request)
    for key, requests in by_budget.items():
        came = sorted(request.started for request in requests)
        moments = sorted(moment for request in requests for moment in _further(request))
        yield from _over(moments, came, came, policy.ratio, floor, " ".join(key))
    yield from _over(
        sorted(moment for request in record.requests for moment in _further(request)),
        sorted(request.started for request in record.requests),
        sorted(request.ended for request in record.requests),
        policy.ratio,
        floor * len(by_budget),
        "all gateways",
    )


def _further(request: RequestRecord) -> list[float]:
    """When heads after the first went out."""
    return sorted(attempt.sent for attempt in request.attempts for _ in range(attempt.heads))[1:]


def _over(
    moments: Sequence[float],
    came: Sequence[float],
    went: Sequence[float],
    ratio: float,
    floor: float,
    who: str,
) -> Iterator[Violation]:
    window: deque[float] = deque()
    for moment in moments:
        window.append(moment)
        begin = moment - WINDOW_S
        while window[0] <= begin:
            window.popleft()
        if len(window) <= floor:
            continue
        requests = bisect_right(came, moment) - bisect_left(went, begin)
        if len(window) > ratio * requests + floor:
            yield Violation(
                Invariant.AMPLIFICATION,
                moment,
                f"{who}: {len(window)} further attempts within {WINDOW_S:g} s on {requests} requests; "
                f"allowed: {ratio:g} of them + {floor:g}",
            )
            return


def _swings(scenario: Scenario, record: Record) -> Iterator[Violation]:
    """Shares of traffic that go up and down while nothing changes outside."""
    calm_after = SETTLED_S + scenario.topology.routing.ramp_s
    series: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for sample in record.weights:
        for region, share in sample.shares:
            series[sample.gateway, sample.service, region].append((sample.at, share))
    for (gateway, service, region), points in series.items():
        turns = deque[float]()
        for turn in _turns(points):
            turns.append(turn)
            while turns[0] < turn - WINDOW_S:
                turns.popleft()
            if len(turns) > 2 * SWINGS and record.quiet(turns[0] - calm_after, turn):
                yield Violation(
                    Invariant.CALM,
                    turn,
                    f"{gateway}: the share of {region} for {service} turned {len(turns)} times by {SWING:g} or more "
                    f"within {WINDOW_S:g} s, {calm_after:g} s and more after the last change",
                )
                break


def _turns(points: Iterable[tuple[float, float]]) -> Iterator[float]:
    """The moments at which a value had gone back by `SWING` from its last extreme."""
    extreme: float | None = None
    rising = True
    for at, value in points:
        if extreme is None:
            extreme = value
        if (value >= extreme) == rising:
            extreme = value
        elif abs(value - extreme) >= SWING:
            rising = not rising
            extreme = value
            yield at


def _out_of_order(record: Record) -> Iterator[Violation]:
    """In a gateway's own lane strictly: a critical request is not turned away in favour of a sheddable one.

    Over the run and all hops by rates: places are shared with other gateways, whose requests come and go in between.
    """
    let_in: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for request in record.requests:
        if request.criticality is Criticality.SHEDDABLE:
            for attempt in request.attempts:
                if attempt.asked:
                    let_in[request.gateway, request.service, attempt.region].append(attempt.asked_at)
    for moments in let_in.values():
        moments.sort()
    for request in record.requests:
        if request.criticality is not Criticality.CRITICAL:
            continue
        for attempt in request.attempts:
            if attempt.outcome != "full" or attempt.asked:
                continue
            moments = let_in.get((request.gateway, request.service, attempt.region), [])
            if bisect_left(moments, attempt.ended) > bisect_right(moments, attempt.started):
                yield Violation(
                    Invariant.CRITICALITY,
                    request.started,
                    f"request {request.number}, critical, was turned away at {request.gateway} for {attempt.region} "
                    "while a sheddable one got a place",
                )
                return
    yield from _shed_rates(record)


def _shed_rates(record: Record) -> Iterator[Violation]:
    """Criticality is drawn independently of time and place, so the rates of one gateway compare.

    What a client sends again is left out: it meets what the first one met a moment ago, and is no draw of its own.
    """
    counts: dict[tuple[str, str], list[list[int]]] = defaultdict(lambda: [[0, 0] for _ in Criticality])
    for request in record.requests:
        if request.repeat:
            continue
        cell = counts[request.gateway, request.service][request.criticality]
        cell[0] += 1
        cell[1] += request.outcome is Outcome.SHED
    for (gateway, service), by_criticality in counts.items():
        (sheddable, shed), (critical, lost) = (
            by_criticality[Criticality.SHEDDABLE],
            by_criticality[Criticality.CRITICAL],
        )
        if min(sheddable, critical) < LEAST_TO_COMPARE:
            continue
        overall = (shed + lost) / (sheddable + critical)
        deviation = sqrt(max(overall * (1 - overall), 1e-9) * (1 / sheddable + 1 / critical))
        if lost / critical - shed / sheddable > SIGMAS * deviation:
            yield Violation(
                Invariant.CRITICALITY,
                record.began,
                f"{gateway}: {lost} of {critical} critical requests of {service} were shed, "
                f"but only {shed} of {sheddable} sheddable ones",
            )


def _filled_at_once(scenario: Scenario, record: Record) -> Iterator[Violation]:
    """A region that came back has no more than a part of its load in the first quarter of the ramp.

    Only where an entry sends to it: its own gateway, which has just started as well, has nowhere nearer to go. And
    only if the others had room all the time; if they had not, it is needed at once. So it is where requests come that
    may be executed nowhere else.
    """
    if not scenario.entry:
        return
    early_s = scenario.topology.routing.ramp_s / 4
    for fault in scenario.faults:
        if fault.kind is not FaultKind.REGION_LOSS or fault.until_s >= scenario.duration_s:
            continue
        begin = record.began + fault.until_s
        end = begin + early_s
        for (region, service), peaks in record.load.items():
            work = scenario.works[service]
            takes = work.replicas * work.in_flight
            others = [
                other.highest(begin, end) / takes
                for (name, its), other in record.load.items()
                if its == service and name != region
            ]
            if region != fault.region or not others or max(others) > FULL:
                continue
            if _alone(scenario, record, region, service, begin, end):
                continue
            if peaks.highest(begin, end) > max(FILLED * takes, 4):
                yield Violation(
                    Invariant.RAMP,
                    begin,
                    f"{region} had {peaks.highest(begin, end)} requests of {service} of the {takes} that it takes "
                    f"within {early_s:g} s of its return, although no other region was filled by more than {FULL:g}",
                )


def _alone(scenario: Scenario, record: Record, region: str, service: str, begin: float, end: float) -> bool:
    """Whether there were requests between `begin` and `end` that may be executed in this region only."""
    zones = {name: place.zone for name, place in scenario.topology.regions.items()}
    placed = scenario.topology.services[service].regions
    return any(
        request.service == service
        and begin <= request.started <= end
        and [one for one in placed if zones[one] in request.zones] == [region]
        for request in record.requests
    )


def _unbalanced(scenario: Scenario, record: Record) -> Iterator[Violation]:
    for request in record.requests:
        if request.ends != 1:
            yield Violation(
                Invariant.CONSERVATION,
                request.started,
                f"request {request.number} ended {request.ends} times",
            )
    for wrong in record.misled:
        yield Violation(Invariant.PROBES, scenario.duration_s, wrong)
    for left in record.left_over:
        yield Violation(Invariant.CONSERVATION, scenario.duration_s, left)
