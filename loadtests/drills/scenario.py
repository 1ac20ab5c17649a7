"""What a drill is: who comes, what breaks, what is expected, and when it is called off."""

from dataclasses import dataclass
from enum import StrEnum

from loadtests.drills.record import Way


class ShapeKind(StrEnum):
    """How the rate of visits goes over time."""

    STEADY = "steady"
    RAMP = "ramp"
    """From `rate` to `peak` between `at_s` and `at_s + for_s`; stays there."""
    SPIKE = "spike"
    """At once to `peak` at `at_s`, back after `for_s`."""
    SUN = "sun"
    """Each place's share follows its local hour; one day passes in `period_s`."""
    SAWTOOTH = "sawtooth"
    """From `rate` up to `peak` and back at once, every `period_s`."""
    FLASH_SALE = "flash-sale"
    """At `at_s` for `for_s`, `peak` more visits a second of one country (`country`) who all buy the same article."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Visits a second over the time since the load began, all places together."""

    kind: ShapeKind
    rate: float
    peak: float | None = None
    at_s: float | None = None
    for_s: float | None = None
    period_s: float | None = None
    country: str | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Who comes."""

    shape: Shape
    ways: tuple[Way, ...] = (Way.ENTRY,)
    """Visitors take them in turn."""
    journey: str = "shop"
    """What a visitor does: ``shop``, or ``quote`` (single requests that keep a replica waiting), as in `users`."""
    think_s: float = 1.0
    """Mean pause between two steps of a visit."""
    wait_ms: float = 0.0
    """Journey ``quote``: for so long a replica holds each request."""
    fails: float = 0.0
    """Journey ``quote``: the share of attempts that replicas fail while a spike lasts."""
    countries: tuple[str, ...] = ()
    """Only users from there; everywhere if empty."""
    services: tuple[str, ...] = ()
    """What they ask, of what is deployed; everything if empty."""
    timeout_s: float | None = None
    """So long users let a request take (``Atoll-Timeout``); None: as long as the service does."""
    client_retries: int = 0
    """How often users send again at once what failed (a retry storm)."""


class FaultKind(StrEnum):
    """What a drill breaks, or does to load alone."""

    NONE = "none"
    KILL = "kill"
    FREEZE = "freeze"
    CUT = "cut"
    SLOW = "slow"
    THROTTLE = "throttle"
    DRAIN = "drain"
    KILL_REPLICA = "kill-replica"
    """One replica of `service`, again each time it is back."""
    FREEZE_REPLICA = "freeze-replica"
    LIMP_REPLICA = "limp-replica"
    """One replica of `service` gets a `share` of the time alone."""
    STORE_FULL = "store-full"
    """A store's disk takes no more writes."""
    STORE_MEMORY = "store-memory"
    """A store may use no more memory."""
    CLOCK_SKEW = "clock-skew"
    """The clock of a state store, which stamps its region's writes, is off by `skew_s`."""
    RESTART_STORM = "restart-storm"
    """Every process of the targets is killed and comes back."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that breaks. `target` is written as for `atoll fault`: ``eu-west``, ``eu-west/state``."""

    kind: FaultKind
    target: str = ""
    other: str | None = None
    one_way: bool = False
    latency_s: float | None = None
    rate_bytes_per_s: float | None = None
    service: str | None = None
    share: float | None = None
    """Of the time, that is left to it."""
    skew_s: float | None = None
    """How far its clock is ahead, or behind if below zero."""
    before_load: bool = False
    """It is in force before the load begins (region-return)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The blast radius: what the drill may cost, and when it calls itself off."""

    failed: int
    """The error budget: so many failed requests from the fault on, and the drill is called off."""
    regions: int = 1
    """So many regions may be touched by its faults."""
    failed_elsewhere: int | None = None
    """Of them, so many at most of users whose nearest region was not touched."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """A bound on one figure, by its name in `loadtests.drills.figures`: ``during.errors.replayable``."""

    figure: str
    at_most: float | None = None
    at_least: float | None = None


@dataclass(frozen=True, slots=True)
class Durations:
    """How long each part takes, in seconds."""

    steady_s: float
    fault_s: float
    recovery_s: float


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill. `short` is its form for continuous integration; everything else is the same."""

    name: str
    title: str
    topology: str
    """What has to run, by the topology's name: ``local``, ``shop``."""
    load: Load
    faults: tuple[Fault, ...]
    limits: Limits
    expectations: tuple[Expectation, ...]
    long: Durations
    short: Durations
    steady_errors: float = 0.0
    """The share of requests that may fail in the steady state for the drill to begin at all."""
    proves: str = ""
    """The mechanism of Atoll without which this drill is red; empty if there is none that can be turned off."""
