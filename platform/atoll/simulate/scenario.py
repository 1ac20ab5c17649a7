"""What a scenario says: load, work, faults and what is expected, checked and frozen.

Nothing here belongs to the simulator alone: the same file is to drive live drills.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType

from atoll.topology import Topology


class FaultKind(StrEnum):
    """What can go wrong. ``kill``, ``freeze``, ``cut`` and ``slow`` of `atoll fault` are the means to most of these."""

    REGION_LOSS = "region-loss"
    """Every process of a region is killed at once (``fault kill REGION``)."""
    REGION_FREEZE = "region-freeze"
    """Every process of a region stands still (``fault freeze REGION``)."""
    REGION_DRAIN = "region-drain"
    """The region is drained as `atoll drain` does it."""
    FLAPPING_REGION = "flapping-region"
    """The region is lost and returns, again and again: down for half of each `period`."""
    GATEWAY_LOSS = "gateway-loss"
    """A region's gateway is killed; its replicas live on (``fault kill REGION/gateway-1``)."""
    GATEWAY_STALL = "gateway-stall"
    """A region's gateway stands still and goes on: its ticks come late (``fault freeze REGION/gateway-1``)."""
    PARTITION = "partition"
    """Links are cut and nobody is told: one (`other`), or all of the region's; both ways, or `one_way` from it."""
    SLOW_LINK = "slow-link"
    """Links take `latency` longer each way (``fault slow``)."""
    LINK_LOSS = "link-loss"
    """A `share` of what is sent over the links ends with a broken connection."""
    SLOW_REGION = "slow-region"
    """All replicas of the region take `factor` times as long."""
    SLOW_REPLICA = "slow-replica"
    """One replica takes `factor` times as long."""
    FROZEN_REPLICA = "frozen-replica"
    """One replica accepts requests and answers none (SIGSTOP)."""
    CRASH_LOOP = "replica-crash-loop"
    """One replica dies with all that it has, comes back, and dies again: down for half of each `period`."""
    FAILING_REPLICA = "failing-replica"
    """One replica answers a `share` of its requests with 503, at once."""
    CAPACITY_DROP = "capacity-drop"
    """A `share` of a region's replicas is gone."""
    STALE_REPORTS = "stale-reports"
    """What the region's gateways report of its load no longer changes."""
    SURGE = "surge"
    """Clients in a place send `factor` times as much (`target` is a country; all places without it)."""
    RETRY_STORM = "retry-storm"
    """Clients repeat what failed, at once, up to `factor` times."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, from `at_s` on for `for_s` (None: to the end)."""

    kind: FaultKind
    at_s: float
    for_s: float | None
    target: str = ""
    other: str | None = None
    one_way: bool = False
    factor: float = 1.0
    share: float = 1.0
    latency_s: float = 0.0
    period_s: float = 0.0

    @property
    def until_s(self) -> float:
        return math.inf if self.for_s is None else self.at_s + self.for_s

    @property
    def region(self) -> str:
        """The region that is hit; empty for faults of clients."""
        return self.target.partition("/")[0]


class Shape(StrEnum):
    """How a rate changes over time."""

    STEADY = "steady"
    RAMP = "ramp"
    """From `rate` at `at` to `peak` at `at + for`, and stays there."""
    STEP = "step"
    """`rate`, and `peak` from `at` on."""
    SPIKE = "spike"
    """`rate`, and `peak` from `at` for `for`."""
    SINE = "sine"
    """Between `rate` and `peak`, beginning with `rate`."""
    SAWTOOTH = "sawtooth"
    """Grows from `rate` to `peak` within each `period`."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of kinds of requests; each of the two groups sums to one."""

    critical: float = 0.2
    sheddable: float = 0.2
    post: float = 0.1
    """Not idempotent, without a key."""
    keyed: float = 0.1
    """Not idempotent, with an ``Idempotency-Key``."""
    impatient: float = 0.02
    """Clients that go away before they have an answer."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients in one country send to one service; arrivals are a Poisson process of a changing rate."""

    service: str
    country: str
    rate: float
    shape: Shape = Shape.STEADY
    peak: float = 0.0
    at_s: float = 0.0
    for_s: float = 0.0
    period_s: float = 0.0
    timeout_s: float | None = None
    """``Atoll-Timeout``; None leaves it to the service."""
    mix: Mix = Mix()

    @property
    def most(self) -> float:
        """The highest rate that there will be, in requests a second."""
        return max(self.rate, self.peak if self.shape is not Shape.STEADY else 0.0)

    def rate_at(self, now: float) -> float:
        """Requests a second at a moment."""
        rise = self.peak - self.rate
        match self.shape:
            case Shape.STEADY:
                return self.rate
            case Shape.RAMP:
                return self.rate + rise * min(1.0, max(0.0, (now - self.at_s) / self.for_s))
            case Shape.STEP:
                return self.peak if now >= self.at_s else self.rate
            case Shape.SPIKE:
                return self.peak if self.at_s <= now < self.at_s + self.for_s else self.rate
            case Shape.SINE:
                return self.rate + rise * (1.0 - math.cos(2 * math.pi * now / self.period_s)) / 2
            case Shape.SAWTOOTH:
                return self.rate + rise * (now % self.period_s) / self.period_s


@dataclass(frozen=True, slots=True)
class Work:
    """How a service's replicas behave in every region: times are log-normal."""

    replicas: int
    in_flight: int
    """What one replica accepts at most."""
    busy: int
    """What one replica works on at once; more waits in it."""
    median_s: float
    sigma: float


@dataclass(frozen=True, slots=True)
class Expectations:
    """Figures that the run must show, besides the invariants, which hold always. None expects nothing."""

    answered: float | None = None
    """At least this share of all requests is answered with what the client asked for."""
    critical_answered: float | None = None
    amplification: float | None = None
    """Attempts to admitted requests, at most."""
    p99_s: float | None = None
    shares: Mapping[str, tuple[float, float]] = field(default_factory=lambda: MappingProxyType({}))
    """Region -> least and greatest share of the answers that it gives."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole rehearsal."""

    name: str
    title: str
    topology: Topology
    duration_s: float
    """For so long clients send; what is under way then is seen to its end."""
    loads: tuple[Load, ...]
    works: Mapping[str, Work]
    faults: tuple[Fault, ...] = ()
    entry: bool = False
    """Whether clients come through one entry; otherwise DNS steers each to the gateways of a near region."""
    expect: Expectations = Expectations()

    @property
    def phases(self) -> tuple[tuple[str, float, float], ...]:
        """Name, beginning and end of the stretches between which the faults in force change."""
        marks = {0.0, self.duration_s}
        for fault in self.faults:
            marks |= {moment for moment in (fault.at_s, fault.until_s) if moment < self.duration_s}
        edges = sorted(marks)
        return tuple((self._in_force(begin), begin, end) for begin, end in pairwise(edges))

    def _in_force(self, moment: float) -> str:
        names = [
            f"{fault.kind.value} {fault.target}".strip()
            for fault in self.faults
            if fault.at_s <= moment < fault.until_s
        ]
        return ", ".join(names) or ("before" if all(moment < f.at_s for f in self.faults) else "after")
