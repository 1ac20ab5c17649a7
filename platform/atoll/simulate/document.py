"""The shape of a scenario file, as pydantic models, and the way from there to `Scenario`."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atoll.geo.countries import country_centroids
from atoll.simulate.scenario import Expectations, Fault, FaultKind, Load, Mix, Scenario, Shape, Work
from atoll.topology import Problem, Topology, TopologyError, load
from atoll.topology.document import Country, Duration, Name, Rate
from atoll.topology.problems import from_validation, unknown
from atoll.topology.units import rate, seconds

Target = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*(/[a-z][a-z0-9-]*-[1-9][0-9]?)?$")]
Share = Annotated[float, Field(ge=0, le=1)]

_ON_REPLICA = frozenset(
    {FaultKind.SLOW_REPLICA, FaultKind.FROZEN_REPLICA, FaultKind.CRASH_LOOP, FaultKind.FAILING_REPLICA}
)
_ON_LINK = frozenset({FaultKind.PARTITION, FaultKind.SLOW_LINK, FaultKind.LINK_LOSS})
_ON_CLIENTS = frozenset({FaultKind.SURGE, FaultKind.RETRY_STORM})
_NEEDS: Mapping[FaultKind, frozenset[str]] = MappingProxyType(
    {
        FaultKind.FLAPPING_REGION: frozenset({"period"}),
        FaultKind.CRASH_LOOP: frozenset({"period"}),
        FaultKind.SLOW_LINK: frozenset({"latency"}),
        FaultKind.LINK_LOSS: frozenset({"share"}),
        FaultKind.SLOW_REGION: frozenset({"factor"}),
        FaultKind.SLOW_REPLICA: frozenset({"factor"}),
        FaultKind.FAILING_REPLICA: frozenset({"share"}),
        FaultKind.CAPACITY_DROP: frozenset({"share"}),
        FaultKind.SURGE: frozenset({"factor"}),
        FaultKind.RETRY_STORM: frozenset({"factor"}),
    }
)
"""Which keys a kind needs besides `target`; it takes no others but ``other`` and ``one_way`` on links."""

_SHAPES: Mapping[Shape, frozenset[str]] = MappingProxyType(
    {
        Shape.STEADY: frozenset(),
        Shape.RAMP: frozenset({"peak", "at", "for"}),
        Shape.STEP: frozenset({"peak", "at"}),
        Shape.SPIKE: frozenset({"peak", "at", "for"}),
        Shape.SINE: frozenset({"peak", "period"}),
        Shape.SAWTOOTH: frozenset({"peak", "period"}),
    }
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class MixDocument(_Strict):
    critical: Share = 0.2
    sheddable: Share = 0.2
    post: Share = 0.1
    keyed: Share = 0.1
    impatient: Share = 0.02


class LoadDocument(_Strict):
    service: Name
    country: Country
    rate: Rate
    shape: Literal["steady", "ramp", "step", "spike", "sine", "sawtooth"] = "steady"
    peak: Rate | None = None
    at: Duration | None = None
    for_: Duration | None = Field(default=None, alias="for")
    period: Duration | None = None
    timeout: Duration | None = None
    mix: MixDocument = MixDocument()


class WorkDocument(_Strict):
    replicas: int = Field(ge=1, le=64)
    in_flight: int = Field(ge=1, le=1024)
    busy: int = Field(ge=1, le=1024)
    median: Duration
    sigma: float = Field(default=0.4, ge=0, le=2)


class FaultDocument(_Strict):
    kind: Literal[
        "region-loss",
        "region-freeze",
        "region-drain",
        "flapping-region",
        "gateway-loss",
        "gateway-stall",
        "partition",
        "slow-link",
        "link-loss",
        "slow-region",
        "slow-replica",
        "frozen-replica",
        "replica-crash-loop",
        "failing-replica",
        "capacity-drop",
        "stale-reports",
        "surge",
        "retry-storm",
    ]
    at: Duration
    for_: Duration | None = Field(default=None, alias="for")
    target: Target | Country | None = None
    other: Name | None = None
    one_way: bool = False
    factor: float | None = Field(default=None, gt=0, le=100)
    share: Share | None = None
    latency: Duration | None = None
    period: Duration | None = None


class ExpectDocument(_Strict):
    answered: Share | None = None
    critical_answered: Share | None = None
    amplification: float | None = Field(default=None, ge=1)
    p99: Duration | None = None
    shares: dict[Name, Annotated[list[Share], Field(min_length=2, max_length=2)]] = {}


class ScenarioDocument(_Strict):
    """The file as a whole."""

    schema_: Literal["atoll.scenario/1"] = Field(alias="schema")
    name: Name
    title: str = Field(min_length=1, max_length=200)
    topology: str = Field(min_length=1)
    regions: int | None = Field(default=None, ge=1, le=64)
    duration: Duration
    entry: bool = False
    load: list[LoadDocument] = Field(min_length=1)
    work: dict[Name, WorkDocument] = Field(min_length=1)
    faults: list[FaultDocument] = []
    expect: ExpectDocument = ExpectDocument()


class ScenarioError(Exception):
    """A scenario file that can't be used; the message holds everything that is wrong with it."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{path}: {count}, nothing was run" + "".join(f"\n  {found}" for found in problems))


def read_scenario(path: Path) -> Scenario:
    """Reads and checks a scenario and its topology, which it names relative to itself.

    Raises `ScenarioError` with every problem found, and `TopologyError` if it is the topology that is refused.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "is not UTF-8 text"
        raise ScenarioError(
            path, [Problem("(file)", "unreadable", f"{reason}; give the path of a TOML file")]
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(path, [Problem("(file)", "not TOML", str(error))]) from error
    try:
        document = ScenarioDocument.model_validate(raw)
    except ValidationError as error:
        raise ScenarioError(path, from_validation(error, ScenarioDocument)) from error
    file = path.parent / document.topology
    try:
        topology = load(file, regions=document.regions)
    except TopologyError as error:
        if not file.exists():
            problem = Problem(
                "topology", repr(document.topology), f"there is no {file}; write it relative to this file"
            )
            raise ScenarioError(path, [problem]) from error
        raise
    if problems := list(_problems(document, topology)):
        raise ScenarioError(path, problems)
    return _freeze(document, topology)


def _problems(document: ScenarioDocument, topology: Topology) -> Iterator[Problem]:
    known_countries = country_centroids()
    countries = {load.country for load in document.load}
    for index, load_ in enumerate(document.load):
        key = f"load.{index}"
        if load_.service not in topology.services:
            yield unknown(f"{key}.service", load_.service, "service", topology.services)
        elif load_.service not in document.work:
            yield Problem(f"work.{load_.service}", "missing", f"say how {load_.service} behaves under load")
        if load_.country not in known_countries:
            yield Problem(
                f"{key}.country", repr(load_.country), "write an ISO 3166-1 alpha-2 code, such as IE"
            )
        given = {
            name
            for name, value in (
                ("peak", load_.peak),
                ("at", load_.at),
                ("for", load_.for_),
                ("period", load_.period),
            )
            if value is not None
        }
        yield from _keys(key, load_.shape, given, _SHAPES[Shape(load_.shape)])
        for one, other in (("critical", "sheddable"), ("post", "keyed")):
            if getattr(load_.mix, one) + getattr(load_.mix, other) > 1:
                yield Problem(
                    f"{key}.mix", f"{one} and {other}", "are shares of one whole: at most 1 together"
                )
    for name, work in document.work.items():
        if name not in topology.services:
            yield unknown(f"work.{name}", name, "service", topology.services)
        if work.busy > work.in_flight:
            yield Problem(
                f"work.{name}.busy", str(work.busy), f"at most in_flight, which is {work.in_flight}"
            )
    for index, fault in enumerate(document.faults):
        yield from _fault_problems(f"faults.{index}", fault, document, topology, countries)
    for region in document.expect.shares:
        if region not in topology.regions:
            yield unknown(f"expect.shares.{region}", region, "region", topology.regions)


def _fault_problems(
    key: str, fault: FaultDocument, document: ScenarioDocument, topology: Topology, countries: set[str]
) -> Iterator[Problem]:
    kind = FaultKind(fault.kind)
    given = {name for name in ("factor", "share", "latency", "period") if getattr(fault, name) is not None}
    yield from _keys(key, fault.kind, given, _NEEDS.get(kind, frozenset()))
    if kind not in _ON_LINK and (fault.other is not None or fault.one_way):
        yield Problem(key, "other, one_way", f"mean links; {fault.kind} hits none")
    if seconds(fault.at) >= seconds(document.duration):
        yield Problem(f"{key}.at", fault.at, f"must be before the end, {document.duration}")
    if kind in _ON_CLIENTS:
        if fault.target is not None and fault.target not in countries:
            yield unknown(f"{key}.target", fault.target, "country with load", countries)
        return
    if fault.target is None:
        yield Problem(f"{key}.target", "missing", "name a region")
        return
    region, _, part = fault.target.partition("/")
    if region not in topology.regions:
        yield unknown(f"{key}.target", region, "region", topology.regions)
        return
    if fault.other is not None and (fault.other == region or fault.other not in {*topology.regions, "entry"}):
        yield unknown(f"{key}.other", fault.other, "other end", {*topology.regions, "entry"} - {region})
    if kind in _ON_REPLICA:
        most = max(work.replicas for work in document.work.values())
        if not (part.startswith("replica-") and int(part[8:]) <= most):
            yield Problem(
                f"{key}.target", repr(fault.target), f"write {region}/replica-1 up to replica-{most}"
            )
    elif kind in (FaultKind.GATEWAY_LOSS, FaultKind.GATEWAY_STALL):
        most = topology.regions[region].gateways
        if not (part.startswith("gateway-") and int(part[8:]) <= most):
            yield Problem(
                f"{key}.target", repr(fault.target), f"write {region}/gateway-1 up to gateway-{most}"
            )
    elif part:
        yield Problem(f"{key}.target", repr(fault.target), f"{fault.kind} hits a region: write {region}")


def _keys(key: str, kind: str, given: set[str], needed: frozenset[str]) -> Iterator[Problem]:
    for name in sorted(needed - given):
        yield Problem(f"{key}.{name}", "missing", f"{kind} needs it")
    for name in sorted(given - needed):
        yield Problem(
            f"{key}.{name}", "unknown", f"{kind} takes {', '.join(sorted(needed)) or 'no such key'}"
        )


def _freeze(document: ScenarioDocument, topology: Topology) -> Scenario:
    expect = document.expect
    return Scenario(
        name=document.name,
        title=document.title,
        topology=topology,
        duration_s=seconds(document.duration),
        loads=tuple(_load(found) for found in document.load),
        works=MappingProxyType(
            {
                name: Work(work.replicas, work.in_flight, work.busy, seconds(work.median), work.sigma)
                for name, work in document.work.items()
            }
        ),
        faults=tuple(_fault(found) for found in document.faults),
        entry=document.entry,
        expect=Expectations(
            answered=expect.answered,
            critical_answered=expect.critical_answered,
            amplification=expect.amplification,
            p99_s=None if expect.p99 is None else seconds(expect.p99),
            shares=MappingProxyType({name: (least, most) for name, (least, most) in expect.shares.items()}),
        ),
    )


def _load(found: LoadDocument) -> Load:
    return Load(
        service=found.service,
        country=found.country,
        rate=rate(found.rate),
        shape=Shape(found.shape),
        peak=0.0 if found.peak is None else rate(found.peak),
        at_s=_seconds(found.at),
        for_s=_seconds(found.for_),
        period_s=_seconds(found.period),
        timeout_s=None if found.timeout is None else seconds(found.timeout),
        mix=Mix(**found.mix.model_dump()),
    )


def _fault(found: FaultDocument) -> Fault:
    return Fault(
        kind=FaultKind(found.kind),
        at_s=seconds(found.at),
        for_s=None if found.for_ is None else seconds(found.for_),
        target=found.target or "",
        other=found.other,
        one_way=found.one_way,
        factor=1.0 if found.factor is None else found.factor,
        share=1.0 if found.share is None else found.share,
        latency_s=_seconds(found.latency),
        period_s=_seconds(found.period),
    )


def _seconds(text: str | None) -> float:
    return 0.0 if text is None else seconds(text)
