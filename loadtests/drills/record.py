"""What a drill sees, as it happens: every request of its users, a sample of the run every second, and marks.

All times are seconds of this machine's monotonic clock, which every process of it shares.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import TypeAdapter


class Way(StrEnum):
    """How a user finds a gateway."""

    ENTRY = "entry"
    """Behind the entry, as with anycast: steered anew at each request."""
    DNS = "dns"
    """By the steering document, kept until its time to live runs out, whatever happens to the gateway."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as its user saw it, from the moment at which it was to be sent."""

    due_s: float
    """When the user meant to send it; latency counts from here (no coordinated omission)."""
    sent_s: float
    ended_s: float
    name: str
    """What was asked, without what differs from user to user: ``GET /catalog/search``."""
    service: str
    country: str
    """Of the user's place, ISO 3166-1 alpha-2."""
    way: Way
    status: int | None
    """None: there was no answer."""
    error: str
    """Empty if it succeeded; else a word: ``refused``, ``reset``, ``timeout``, the problem's type, or the status."""
    region: str
    """``Atoll-Region``; empty if none produced the answer."""
    attempts: int
    """``Atoll-Attempts``; 0 if it is not known."""
    replayable: bool
    """Whether Atoll may send it twice: an idempotent method, or a key of a service that takes care of keys."""
    key: str = ""
    """Its Idempotency-Key."""
    tries: int = 1
    """How often the user has sent it by now; more than 1 for users that retry by themselves."""
    criticality: str = "default"
    write: str = ""
    """What it was to change, for the audit: ``cart/CART/SKU=QUANTITY`` or ``order/SKU=QUANTITY,SKU=QUANTITY``."""

    @property
    def seconds(self) -> float:
        return self.ended_s - self.due_s

    @property
    def failed(self) -> bool:
        return self.error != ""


@dataclass(frozen=True, slots=True)
class RegionSample:
    """One region at one moment."""

    state: str
    """As in `atoll.cell.status.RegionState`."""
    healthy_for: float
    """The share of the gateways outside that trust it; 1.0 where there is none."""
    replicas: Mapping[str, int]
    """Running replicas a service."""
    targets: Mapping[str, int]
    """Replicas that Serve wants, a service."""
    in_flight: Mapping[str, int]
    restarts: int = 0
    """Of its processes, since they were first started."""
    refuses_writes: bool = False
    """Whether its store refuses them, which is its clock's doing."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The run at one moment."""

    at_s: float
    busy: float
    """Share of the machine's processor time that was used since the sample before, by anybody; 0 to 1."""
    regions: Mapping[str, RegionSample]


class MarkKind(StrEnum):
    """What a mark on the time line tells of."""

    PHASE = "phase"
    FAULT = "fault"
    HEAL = "heal"
    DECISION = "decision"
    """Something that Atoll did by itself: a region distrusted, replicas added, a process started again."""
    ALERT = "alert"


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at one moment."""

    at_s: float
    kind: MarkKind
    text: str
    """For people: ``eu-west is killed``."""


@dataclass(frozen=True, slots=True)
class Writes:
    """What became of the writes, as an audit after the drill found it. All zero where nothing was written."""

    acknowledged: int = 0
    unknown: int = 0
    """Nobody told the user whether it happened; either is right."""
    lost: int = 0
    duplicated: int = 0


@dataclass(frozen=True, slots=True)
class Phases:
    """When each part of a drill began. Before `fault_s` is the steady state, after `heal_s` the recovery."""

    begin_s: float
    fault_s: float
    heal_s: float
    end_s: float
    warm_s: float | None = None
    """What was due before then warmed the run up, and counts as nothing; None: all counts from the beginning."""

    @property
    def steady_s(self) -> float:
        """When the steady state began."""
        return self.begin_s if self.warm_s is None else self.warm_s


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that was seen in one drill, in the order of time."""

    phases: Phases
    requests: tuple[Request, ...] = ()
    samples: tuple[Sample, ...] = ()
    marks: tuple[Mark, ...] = ()
    writes: Writes = field(default_factory=Writes)


REQUEST = TypeAdapter(Request)
"""One line of the file that users write: JSON."""
