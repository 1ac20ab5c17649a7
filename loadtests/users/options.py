"""What can be said on the command line and in locust's web page, and what it means."""

from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from atoll.cell.facts import is_locked
from atoll.cell.paths import RunPaths
from loadtests.drills.record import Way
from loadtests.drills.scenario import Shape, ShapeKind
from loadtests.users.arrivals import ShapeError, check
from loadtests.users.client import Origin
from loadtests.users.journeys import JOURNEYS
from loadtests.users.visit import Manners

DEFAULT_TOPOLOGY = Path(__file__).parents[2] / "infra" / "topologies" / "local.toml"
"""What `make up` starts."""

PATIENCE_S = 10.0
"""How long people keep their mind on something that does not answer (Nielsen, "Usability Engineering", 1993)."""


class OptionsError(ValueError):
    """Something that was said is wrong; each line says what and what would be right."""


_NAMES = {
    "for_s": "for",
    "at_s": "at",
    "period_s": "period",
    "think_s": "think",
    "timeout_s": "timeout",
    "begin_s": "begin",
}
"""Options that are not named as their values are."""


def _empty(value: object) -> object:
    """The web page sends an empty field where nothing is said."""
    return None if value == "" else value


def _words(value: object) -> object:
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


_NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
_Seconds = Annotated[_NotNegative | None, BeforeValidator(_empty)]
_Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class _Said(BaseModel):
    """Everything as it is said, checked field by field. Numbers may come as text."""

    model_config = ConfigDict(extra="ignore")

    host: str
    way: Literal["entry", "dns", "both"]
    shape: ShapeKind
    rate: _Positive
    peak: Annotated[_Positive | None, BeforeValidator(_empty)] = None
    at_s: _Seconds = None
    for_s: _Seconds = None
    period_s: _Seconds = None
    country: Annotated[str | None, BeforeValidator(_empty)] = None
    journey: Literal["shop", "quote"]
    think_s: _NotNegative
    wait_ms: Annotated[float, Field(ge=0.0, le=10_000.0)]
    fails: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    countries: _Words = ()
    services: _Words = ()
    timeout_s: Annotated[_Positive | None, BeforeValidator(_empty)] = None
    client_retries: Annotated[int, Field(ge=0, le=100)]
    fallback: bool = False
    patience: _Positive
    sale_stock: Annotated[int, Field(ge=0, le=1_000_000)]
    run_seconds: Annotated[_Positive | None, BeforeValidator(_empty)] = None
    seed: int
    requests: Annotated[Path | None, BeforeValidator(_empty)] = None
    topology: Annotated[Path | None, BeforeValidator(_empty)] = None
    begin_s: _Seconds = None

    @field_validator("host")
    @classmethod
    def _host(cls, host: str) -> str:
        Origin.of(host)
        return host

    @field_validator("country", "countries")
    @classmethod
    def _countries(cls, said: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for code in (said,) if isinstance(said, str) else said or ():
            if not (len(code) == 2 and code.isascii() and code.isalpha()):
                raise ValueError(f"{code!r} is no country code such as IE")
        return said.upper() if isinstance(said, str) else said and tuple(code.upper() for code in said)


@dataclass(frozen=True, slots=True)
class Options:
    """A load, as somebody wants it."""

    entry: Origin
    ways: tuple[Way, ...]
    """Visitors take them in turn."""
    shape: Shape
    journey: str
    manners: Manners
    wait_ms: float
    fails: float
    """Of the attempts at quotes of a spike."""
    countries: tuple[str, ...]
    services: tuple[str, ...]
    """Only these; all that are deployed if empty."""
    sale_stock: int
    seed: int
    topology: Path
    requests: Path | None
    run_s: float | None
    """For how long visits begin; None: until somebody ends it."""
    begin_s: float | None
    """When the load begins, by this machine's monotonic clock; None: as soon as it can."""


def add_options(parser: ArgumentParser) -> None:
    """Puts the options into locust's parser. Those of a run alone, not of a load, stay out of the web page."""
    # Not in a group of its own: locust's page shows the parser's alone.
    add = parser.add_argument
    hidden: Any = partial(add, include_in_web_ui=False)
    add("--way", choices=("entry", "dns", "both"), default="entry", help="How users find a gateway.")
    add("--shape", choices=[str(kind) for kind in ShapeKind], default="steady", help="Of the rate over time.")
    add("--rate", default="10", help="Visits that begin in a second, all places together.")
    add(
        "--peak", default="", help="Highest rate of ramp, spike and sawtooth; further visits of a flash sale."
    )
    add(
        "--at", dest="at_s", default="", help="Seconds after the beginning at which the shape's event begins."
    )
    add("--for", dest="for_s", default="", help="Seconds that it takes.")
    add(
        "--period",
        dest="period_s",
        default="",
        help="Seconds of a sawtooth, or of a day that follows the sun.",
    )
    add("--country", default="", help="Where a flash sale is: a country code such as IE.")
    add("--journey", choices=JOURNEYS, default="shop", help="What a visitor does.")
    add("--think", dest="think_s", default="1", help="Mean seconds between an answer and the next step.")
    add("--wait-ms", default="0", help="Journey quote: for so long a replica holds each request.")
    add("--fails", default="0", help="Journey quote: the share of attempts that replicas fail in a spike.")
    add("--countries", default="", help="Users from these alone: IE,JP.")
    add("--services", default="", help="These alone of those in the topology: catalog,quote.")
    add(
        "--timeout",
        dest="timeout_s",
        default="",
        help="Seconds that users let a request take (Atoll-Timeout); without it, as the service says.",
    )
    add("--client-retries", default="0", help="How often users send again at once what failed.")
    add("--patience", default=f"{PATIENCE_S:g}", help="Seconds that a user without --timeout waits.")
    add("--sale-stock", default="50", help="How many there are of a flash sale's article.")
    add("--run-seconds", default="", help="For so long visits begin; without it, until the load is ended.")
    add("--seed", default="1", help="The same seed makes the same users come at the same times.")
    hidden(
        "--fallback", action="store_true", help="DNS users go on to the second gateway if the first refuses."
    )
    hidden("--requests", default="", help="A file to which every request is appended, as a line of JSON.")
    hidden(
        "--topology",
        default="",
        help="What is deployed; the topology of the run in this folder, or local.toml.",
    )
    hidden(
        "--begin", dest="begin_s", default="", help="When the load begins, by the machine's monotonic clock."
    )


def read(said: Mapping[str, object]) -> Options:
    """What was said, understood. Raises `OptionsError` that names every wrong option."""
    try:
        known = _Said.model_validate(said)
    except ValidationError as error:
        raise OptionsError("\n".join(_wrong(each) for each in error.errors())) from None
    shape = Shape(known.shape, known.rate, known.peak, known.at_s, known.for_s, known.period_s, known.country)
    try:
        check(shape)
    except ShapeError as error:
        raise OptionsError("\n".join(_line(*problem) for problem in error.problems.items())) from None
    return Options(
        entry=Origin.of(known.host),
        ways=tuple(Way) if known.way == "both" else (Way(known.way),),
        shape=shape,
        journey=known.journey,
        manners=Manners(known.think_s, known.patience, known.timeout_s, known.client_retries, known.fallback),
        wait_ms=known.wait_ms,
        fails=known.fails,
        countries=known.countries,
        services=known.services,
        sale_stock=known.sale_stock,
        seed=known.seed,
        topology=known.topology or _topology(Path.cwd()),
        requests=known.requests,
        run_s=known.run_seconds,
        begin_s=known.begin_s,
    )


def _topology(folder: Path) -> Path:
    """A run that has ended leaves its files behind."""
    run = RunPaths.below(folder)
    return run.topology if is_locked(run) and run.topology.exists() else DEFAULT_TOPOLOGY


def _wrong(error: ErrorDetails) -> str:
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    shown = "" if error["type"] == "value_error" else f", not {error['input']!r}"
    return _line(str(error["loc"][0]), message + shown)


def _line(name: str, problem: str) -> str:
    return f"--{_NAMES.get(name, name).replace('_', '-')}: {problem}"
