"""What a run showed, as one document: ``atoll.simulation/1`` for a scenario, ``atoll.simulations/1`` for many seeds."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from atoll.resilience.criticality import Criticality
from atoll.simulate.invariants import Invariant, Violation
from atoll.simulate.record import Outcome, Record, RequestRecord, percentile
from atoll.simulate.scenario import Scenario

SCHEMA = "atoll.simulation/1"
MANY_SCHEMA = "atoll.simulations/1"


@dataclass(frozen=True, slots=True)
class RegionFigures:
    """One region in one phase. Requests count where they came in, answers where they were produced."""

    region: str
    requests: int
    answered: int
    """Answers that this region gave, wherever the requests came in."""
    share: float
    """Of all answers in this phase."""
    errors: Mapping[str, int]
    """Of the requests that came in here, by kind."""
    attempts: int
    """Request heads sent for the requests that came in here."""
    p50_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time between changes of the faults in force."""

    name: str
    begin_s: float
    end_s: float
    requests: int
    answered: int
    amplification: float
    """Attempts to requests."""
    regions: tuple[RegionFigures, ...]


@dataclass(frozen=True, slots=True)
class ExpectationFigures:
    """One figure that the scenario expects."""

    name: str
    expected: str
    measured: float
    held: bool


@dataclass(frozen=True, slots=True)
class ViolationFigures:
    """One thing that did not hold."""

    invariant: str
    at_s: float
    detail: str


@dataclass(frozen=True, slots=True)
class SimulationDocument:
    """One run."""

    scenario: str
    title: str
    seed: int
    digest: str
    """Of every event; the same scenario and seed give the same."""
    duration_s: float
    passed: bool
    requests: int
    answered: int
    errors: Mapping[str, int]
    attempts: int
    amplification: float
    phases: tuple[Phase, ...]
    traffic: Mapping[str, tuple[int, ...]]
    """Region -> answers that it gave in each second."""
    expectations: tuple[ExpectationFigures, ...]
    violations: tuple[ViolationFigures, ...]
    schema: str = SCHEMA


@dataclass(frozen=True, slots=True)
class SeedFailure:
    """A seed in which something did not hold."""

    seed: int
    violations: tuple[ViolationFigures, ...]


@dataclass(frozen=True, slots=True)
class SimulationsDocument:
    """Many seeds."""

    first_seed: int
    seeds: int
    passed: bool
    requests: int
    outcomes: Mapping[str, int]
    attempts: int
    faults: Mapping[str, int]
    """Kind -> how often it was drawn."""
    seconds: float
    """That it took."""
    failures: tuple[SeedFailure, ...]
    schema: str = MANY_SCHEMA


SIMULATION = TypeAdapter(SimulationDocument)
SIMULATIONS = TypeAdapter(SimulationsDocument)


def report(
    scenario: Scenario, seed: int, record: Record, violations: Sequence[Violation]
) -> SimulationDocument:
    """Puts a run in figures. Expectations that were not met count as violations too."""
    requests = record.requests
    expectations = tuple(_expectations(scenario, requests))
    unmet = [
        ViolationFigures(
            Invariant.EXPECTATION,
            scenario.duration_s,
            f"{expectation.name} is {expectation.measured:.3g}; expected: {expectation.expected}",
        )
        for expectation in expectations
        if not expectation.held
    ]
    found = (*told(violations, record.began), *unmet)
    regions = tuple(scenario.topology.regions)
    attempts = sum(request.heads for request in requests)
    return SimulationDocument(
        scenario=scenario.name,
        title=scenario.title,
        seed=seed,
        digest=record.digest(),
        duration_s=scenario.duration_s,
        passed=not found,
        requests=len(requests),
        answered=_answered(requests),
        errors=_errors(requests),
        attempts=attempts,
        amplification=_amplification(requests),
        phases=tuple(_phase(name, begin, end, record, regions) for name, begin, end in scenario.phases),
        traffic=_traffic(scenario, record),
        expectations=expectations,
        violations=found,
    )


def told(violations: Iterable[Violation], began: float) -> tuple[ViolationFigures, ...]:
    """Violations with times from the scenario's beginning."""
    return tuple(
        ViolationFigures(violation.invariant, round(violation.at_s - began, 3), violation.detail)
        for violation in violations
    )


def _phase(name: str, begin: float, end: float, record: Record, regions: Iterable[str]) -> Phase:
    inside = [request for request in record.requests if begin <= request.started - record.began < end]
    by_region: dict[str, list[RequestRecord]] = {}
    gave: Counter[str] = Counter()
    for request in inside:
        by_region.setdefault(request.region, []).append(request)
        if request.outcome is Outcome.ANSWERED:
            gave[request.answered_by] += 1
    total = gave.total()
    names = (*regions, *(["entry"] if "entry" in by_region else []))
    figures = tuple(
        RegionFigures(
            region=region,
            requests=len(its := by_region.get(region, [])),
            answered=gave[region],
            share=gave[region] / total if total else 0.0,
            errors=_errors(its),
            attempts=sum(request.heads for request in its),
            p50_s=_latency(its, 0.5),
            p99_s=_latency(its, 0.99),
        )
        for region in names
    )
    return Phase(name, begin, end, len(inside), total, _amplification(inside), figures)


def _traffic(scenario: Scenario, record: Record) -> dict[str, tuple[int, ...]]:
    seconds = int(scenario.duration_s) + 1
    series = {region: [0] * seconds for region in scenario.topology.regions}
    for request in record.requests:
        if request.outcome is Outcome.ANSWERED:
            series[request.answered_by][min(seconds - 1, int(request.ended - record.began))] += 1
    return {region: tuple(counts) for region, counts in series.items()}


def _expectations(scenario: Scenario, requests: Sequence[RequestRecord]) -> Iterable[ExpectationFigures]:
    expect = scenario.expect
    stayed = [request for request in requests if request.outcome is not Outcome.LEFT]
    critical = [request for request in stayed if request.criticality is Criticality.CRITICAL]
    for name, least, among in (
        ("answered", expect.answered, stayed),
        ("critical_answered", expect.critical_answered, critical),
    ):
        if least is not None:
            share = _answered(among) / len(among) if among else 1.0
            yield ExpectationFigures(name, f"at least {least:g}", share, share >= least)
    if expect.amplification is not None:
        measured = _amplification(requests)
        most = expect.amplification
        yield ExpectationFigures("amplification", f"at most {most:g}", measured, measured <= most)
    if expect.p99_s is not None:
        p99 = _latency(requests, 0.99) or 0.0
        yield ExpectationFigures("p99_s", f"at most {expect.p99_s:g}", p99, p99 <= expect.p99_s)
    gave = Counter(request.answered_by for request in requests if request.outcome is Outcome.ANSWERED)
    for region, (least, most) in expect.shares.items():
        share = gave[region] / gave.total() if gave else 0.0
        yield ExpectationFigures(
            f"share of {region}", f"from {least:g} to {most:g}", share, least <= share <= most
        )


def _answered(requests: Iterable[RequestRecord]) -> int:
    return sum(request.outcome is Outcome.ANSWERED for request in requests)


def _errors(requests: Iterable[RequestRecord]) -> dict[str, int]:
    counts = Counter(
        request.outcome.value
        for request in requests
        if request.outcome is not None and request.outcome is not Outcome.ANSWERED
    )
    return dict(sorted(counts.items()))


def _amplification(requests: Sequence[RequestRecord]) -> float:
    admitted = sum(request.outcome is not Outcome.GATEWAY_LOST for request in requests)
    return sum(request.heads for request in requests) / admitted if admitted else 0.0


def _latency(requests: Iterable[RequestRecord], share: float) -> float | None:
    return percentile(
        (request.ended - request.started for request in requests if request.outcome is Outcome.ANSWERED),
        share,
    )
