"""The shape of a drill's file, as pydantic models, and the way from there to `Drill`."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atoll.cell.mechanisms import MECHANISMS
from atoll.geo.countries import country_centroids
from atoll.topology.document import Country, Duration, Name, Rate, Size
from atoll.topology.problems import Problem, from_validation
from atoll.topology.units import rate, seconds, size
from loadtests.drills.figures import Figure, find, near
from loadtests.drills.record import Way
from loadtests.drills.scenario import (
    Drill,
    Durations,
    Expectation,
    Fault,
    FaultKind,
    Limits,
    Load,
    Shape,
    ShapeKind,
)

SCHEMA = "atoll.drill-scenario/1"
FOLDER = Path(__file__).parents[1] / "scenarios"
"""Where the drills' files are: a drill's name is its file's."""
TOPOLOGIES = FOLDER.parents[1] / "infra" / "topologies"
"""Where the topologies are that drills name."""

Target = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*(/[a-z][a-z0-9-]*)?$")]
WayName = Literal["entry", "dns"]
Bound = Annotated[float | str, Field(union_mode="left_to_right")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class LoadDocument(_Strict):
    shape: Literal["steady", "ramp", "spike", "sun", "sawtooth", "flash-sale"] = "steady"
    rate: Rate
    peak: Rate | None = None
    at: Duration | None = None
    for_: Duration | None = Field(default=None, alias="for")
    period: Duration | None = None
    country: Country | None = None
    ways: list[WayName] = Field(default=["entry"], min_length=1)
    journey: Literal["shop", "quote"] = "shop"
    think: Duration = "1s"
    wait: Duration | None = None
    fails: float = Field(default=0.0, ge=0.0, le=1.0)
    countries: list[Country] = []
    services: list[Name] = []
    timeout: Duration | None = None
    client_retries: int = Field(default=0, ge=0, le=10)


class FaultDocument(_Strict):
    kind: Literal[
        "kill",
        "freeze",
        "cut",
        "slow",
        "throttle",
        "drain",
        "kill-replica",
        "freeze-replica",
        "limp-replica",
        "store-full",
        "store-memory",
        "clock-skew",
        "restart-storm",
    ]
    target: Target
    other: Name | None = None
    one_way: bool = False
    latency: Duration | None = None
    rate: Size | None = None
    service: Name | None = None
    share: float | None = Field(default=None, gt=0, lt=1)
    ahead: Duration | None = None
    behind: Duration | None = None
    before_load: bool = False


class LimitsDocument(_Strict):
    failed: int = Field(ge=1)
    regions: int = Field(default=1, ge=0)
    failed_elsewhere: int | None = Field(default=None, ge=0)


class ExpectationDocument(_Strict):
    at_most: Bound | None = None
    at_least: Bound | None = None


class DurationsDocument(_Strict):
    steady: Duration
    fault: Duration
    recovery: Duration


class DrillDocument(_Strict):
    """The file as a whole."""

    schema_: Literal["atoll.drill-scenario/1"] = Field(alias="schema")
    name: Name
    title: str = Field(min_length=1, max_length=200)
    topology: Name
    steady_errors: float = Field(default=0.0, ge=0, lt=1)
    proves: Name | None = None
    load: LoadDocument
    faults: list[FaultDocument] = []
    limits: LimitsDocument
    expect: dict[str, ExpectationDocument] = Field(min_length=1)
    long: DurationsDocument
    short: DurationsDocument


class DrillError(Exception):
    """A drill's file that can't be used; the message holds everything that is wrong with it."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{path}: {count}, nothing was done" + "".join(f"\n  {found}" for found in problems))


def read_drill(path: Path) -> Drill:
    """Reads and checks a drill's file. Raises `DrillError` with every problem found."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "is not UTF-8 text"
        raise DrillError(
            path, [Problem("(file)", "unreadable", f"{reason}; give the path of a TOML file")]
        ) from error
    return parse_drill(text, path)


def parse_drill(text: str, path: Path) -> Drill:
    """As `read_drill`, for a text that has been read; the drill's name has to be that of `path`."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DrillError(path, [Problem("(file)", "not TOML", str(error))]) from error
    try:
        document = DrillDocument.model_validate(raw)
    except ValidationError as error:
        raise DrillError(path, from_validation(error, DrillDocument)) from error
    if problems := list(_problems(document, path)):
        raise DrillError(path, problems)
    return _freeze(document)


# What the parts say of each other

_SHAPES: Mapping[str, tuple[frozenset[str], frozenset[str]]] = MappingProxyType(
    {
        "steady": (frozenset(), frozenset()),
        "ramp": (frozenset({"peak"}), frozenset({"at", "for"})),
        "spike": (frozenset({"peak"}), frozenset({"at", "for"})),
        "sun": (frozenset(), frozenset({"period"})),
        "sawtooth": (frozenset({"peak"}), frozenset({"period"})),
        "flash-sale": (frozenset({"peak", "country"}), frozenset({"at", "for"})),
    }
)
"""Which keys a shape needs, and which it may have besides."""

_FAULTS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = MappingProxyType(
    {
        "kill": (frozenset(), frozenset()),
        "freeze": (frozenset(), frozenset()),
        "cut": (frozenset(), frozenset({"other", "one_way"})),
        "slow": (frozenset({"latency"}), frozenset({"other", "one_way"})),
        "throttle": (frozenset({"rate"}), frozenset({"other", "one_way"})),
        "drain": (frozenset(), frozenset()),
        "kill-replica": (frozenset({"service"}), frozenset()),
        "freeze-replica": (frozenset({"service"}), frozenset()),
        "limp-replica": (frozenset({"service", "share"}), frozenset()),
        "store-full": (frozenset(), frozenset()),
        "store-memory": (frozenset(), frozenset()),
        "clock-skew": (frozenset(), frozenset({"ahead", "behind"})),
        "restart-storm": (frozenset(), frozenset()),
    }
)
_STORES = ("cache", "state")
_OF_REGION = frozenset({"cut", "slow", "throttle", "drain", "kill-replica", "freeze-replica", "limp-replica"})
"""Faults of a whole region, or of its links."""
_OF_STORE = frozenset({"store-full", "store-memory"})
_SIGNED = "amplification.over_budget"
"""The only figure that may be below zero."""
_OF_WAY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"dns": ("dns.", "exposure."), "entry": ("entry.",)}
)


def _problems(document: DrillDocument, path: Path) -> Iterator[Problem]:
    if document.name != path.stem:
        yield Problem("name", repr(document.name), f"a drill is called as its file is: write {path.stem!r}")
    yield from _load_problems(document.load)
    for index, fault in enumerate(document.faults):
        yield from _fault_problems(f"faults.{index}", fault)
    if document.proves is not None and document.proves not in MECHANISMS:
        known = ", ".join(MECHANISMS)
        yield Problem("proves", repr(document.proves), f"there is no such mechanism; there are {known}")
    hit = {fault.target.partition("/")[0] for fault in document.faults} - {"entry", "links"}
    if len(hit) > document.limits.regions:
        yield Problem(
            "limits.regions",
            str(document.limits.regions),
            f"its faults touch {len(hit)} regions ({', '.join(sorted(hit))}); allow that, or leave some out",
        )
    for name, expectation in document.expect.items():
        yield from _expectation_problems(name, expectation, document.load.ways)


def _load_problems(load: LoadDocument) -> Iterator[Problem]:
    given = {
        name
        for name, value in (
            ("peak", load.peak),
            ("at", load.at),
            ("for", load.for_),
            ("period", load.period),
            ("country", load.country),
        )
        if value is not None
    }
    yield from _keys("load", load.shape, given, *_SHAPES[load.shape])
    if load.wait is not None and load.journey != "quote":
        yield Problem("load.wait", repr(load.wait), "only the journey 'quote' waits; leave it out")
    if load.fails and (load.journey, load.shape) != ("quote", "spike"):
        yield Problem(
            "load.fails", repr(load.fails), "only quotes of a spike can be made to fail; leave it out"
        )
    if len(set(load.ways)) < len(load.ways):
        yield Problem("load.ways", repr(load.ways), "name each way once")
    known = country_centroids()
    for code in (*load.countries, *([load.country] if load.country is not None else [])):
        if code not in known:
            yield Problem("load.countries", repr(code), "write ISO 3166-1 alpha-2 codes, such as IE")


def _fault_problems(key: str, fault: FaultDocument) -> Iterator[Problem]:
    given = {
        name
        for name, value in (
            ("other", fault.other),
            ("one_way", fault.one_way or None),
            ("latency", fault.latency),
            ("rate", fault.rate),
            ("service", fault.service),
            ("share", fault.share),
            ("ahead", fault.ahead),
            ("behind", fault.behind),
        )
        if value is not None
    }
    yield from _keys(key, fault.kind, given, *_FAULTS[fault.kind])
    region, _, process = fault.target.partition("/")
    if fault.kind in _OF_REGION and process:
        yield Problem(f"{key}.target", repr(fault.target), f"{fault.kind} hits a region: write {region!r}")
    if fault.kind == "clock-skew":
        if process != "state":
            yield Problem(
                f"{key}.target", repr(fault.target), f"clock-skew hits a state store: write '{region}/state'"
            )
        if (fault.ahead is None) == (fault.behind is None):
            yield Problem(key, "unclear", "clock-skew needs one of ahead and behind")
    if fault.kind in _OF_STORE and process not in _STORES:
        choices = " or ".join(repr(f"{region}/{store}") for store in _STORES)
        yield Problem(f"{key}.target", repr(fault.target), f"{fault.kind} hits a store: write {choices}")


def _keys(
    key: str, kind: str, given: set[str], needed: frozenset[str], allowed: frozenset[str]
) -> Iterator[Problem]:
    for name in sorted(needed - given):
        yield Problem(f"{key}.{name}", "missing", f"{kind} needs it")
    for name in sorted(given - needed - allowed):
        takes = ", ".join(sorted(needed | allowed)) or "no such key"
        yield Problem(f"{key}.{name}", "unknown", f"{kind} takes {takes}")


def _expectation_problems(
    name: str, expectation: ExpectationDocument, ways: list[WayName]
) -> Iterator[Problem]:
    key = f"expect.{name}"
    if (figure := find(name)) is None:
        close = near(name)
        hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
        yield Problem(key, "unknown", f"{hint}loadtests/drills/README.md lists every figure")
        return
    for way, prefixes in _OF_WAY.items():
        if way not in ways and name.removeprefix("before.").removeprefix("during.").removeprefix(
            "after."
        ).startswith(prefixes):
            yield Problem(key, "never seen", f"nobody comes that way: add {way!r} to load.ways")
    bounds = {"at_most": expectation.at_most, "at_least": expectation.at_least}
    if all(bound is None for bound in bounds.values()):
        yield Problem(key, "without a bound", "write at_most, at_least, or both")
    values: dict[str, float] = {}
    for side, bound in bounds.items():
        if bound is None:
            continue
        try:
            values[side] = _bound(bound, figure)
        except ValueError as error:
            yield Problem(f"{key}.{side}", repr(bound), str(error))
    if name != _SIGNED and values.get("at_least", 1.0) <= 0.0:
        yield Problem(f"{key}.at_least", repr(expectation.at_least), "that holds whatever happens")
    if figure.unit == "share" and values.get("at_most", 0.0) >= 1.0:
        yield Problem(f"{key}.at_most", repr(expectation.at_most), "that holds whatever happens")
    if len(values) == len(bounds) and values["at_least"] > values["at_most"]:
        yield Problem(key, "impossible", "at_least is above at_most")


def _bound(bound: float | str, figure: Figure) -> float:
    """A bound as it is written in the figure's unit. Raises `ValueError` that says what would be right."""
    match figure.unit, bound:
        case "s", str():
            return seconds(bound)
        case "s", _:
            raise ValueError("write a duration, such as '1s' or '250ms'")
        case "requests/s", str():
            return rate(bound)
        case "requests/s", _:
            raise ValueError("write a rate, such as '50/s'")
        case _, str():
            raise ValueError(f"write a number (of {figure.unit}), without quotes")
        case "share", _ if not 0.0 <= bound <= 1.0:
            raise ValueError("a share is a number from 0 to 1")
        case _:
            return bound


# From the checked document to the drill


def _freeze(document: DrillDocument) -> Drill:
    load = document.load
    return Drill(
        name=document.name,
        title=document.title,
        topology=document.topology,
        load=Load(
            shape=Shape(
                kind=ShapeKind(load.shape),
                rate=rate(load.rate),
                peak=None if load.peak is None else rate(load.peak),
                at_s=_seconds(load.at),
                for_s=_seconds(load.for_),
                period_s=_seconds(load.period),
                country=load.country,
            ),
            ways=tuple(map(Way, load.ways)),
            journey=load.journey,
            think_s=seconds(load.think),
            wait_ms=(_seconds(load.wait) or 0.0) * 1000.0,
            fails=load.fails,
            countries=tuple(load.countries),
            services=tuple(load.services),
            timeout_s=_seconds(load.timeout),
            client_retries=load.client_retries,
        ),
        faults=tuple(map(_fault, document.faults)),
        limits=Limits(
            failed=document.limits.failed,
            regions=document.limits.regions,
            failed_elsewhere=document.limits.failed_elsewhere,
        ),
        expectations=tuple(_expectation(name, found) for name, found in document.expect.items()),
        long=_durations(document.long),
        short=_durations(document.short),
        steady_errors=document.steady_errors,
        proves=document.proves or "",
    )


def _fault(found: FaultDocument) -> Fault:
    return Fault(
        kind=FaultKind(found.kind),
        target=found.target,
        other=found.other,
        one_way=found.one_way,
        latency_s=_seconds(found.latency),
        rate_bytes_per_s=None if found.rate is None else float(size(found.rate)),
        service=found.service,
        share=found.share,
        skew_s=_seconds(found.ahead) if found.behind is None else -seconds(found.behind),
        before_load=found.before_load,
    )


def _expectation(name: str, found: ExpectationDocument) -> Expectation:
    figure = find(name)
    assert figure is not None
    return Expectation(
        figure=name,
        at_most=None if found.at_most is None else _bound(found.at_most, figure),
        at_least=None if found.at_least is None else _bound(found.at_least, figure),
    )


def _durations(found: DurationsDocument) -> Durations:
    return Durations(seconds(found.steady), seconds(found.fault), seconds(found.recovery))


def _seconds(text: str | None) -> float | None:
    return None if text is None else seconds(text)
