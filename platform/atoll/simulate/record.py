"""What happened in a run: every request with its attempts, how loaded regions were, and what was wrong when."""

import hashlib
import struct
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from atoll.resilience.criticality import Criticality


class Kind(StrEnum):
    """What may be done twice."""

    GET = "get"
    POST = "post"
    KEYED = "keyed"


class Outcome(StrEnum):
    """How a request ended for its client."""

    ANSWERED = "answered"
    FAILED = "failed"
    """The service answered 503, everywhere where it was asked."""
    SHED = "shed"
    """Refused: no place, no breaker open for it, no replica."""
    UNREACHABLE = "unreachable"
    """The last attempt was lost on the way or found nobody."""
    OUTCOME_UNKNOWN = "outcome-unknown"
    """May have been executed, must not be repeated."""
    TIMEOUT = "timeout"
    LEFT = "left"
    """The client went away."""
    GATEWAY_LOST = "gateway-lost"
    """The client's own gateway died, or stood still."""

    @property
    def error(self) -> bool:
        """Whether a client that stayed, at a gateway that lived, got something else than an answer."""
        return self not in (Outcome.ANSWERED, Outcome.LEFT, Outcome.GATEWAY_LOST)


@dataclass(slots=True)
class AttemptRecord:
    """One try to get an answer from one region."""

    region: str
    started: float
    ended: float = -1.0
    sent: float = -1.0
    """When its head went out; -1 if it never did."""
    heads: int = 0
    """Request heads sent: none if it was refused, more than one if a second replica was asked."""
    outcome: str = ""
    asked_at: float = -1.0
    """When its gateway's own lane let it through; -1 if it was turned away there."""

    @property
    def asked(self) -> bool:
        return self.asked_at >= 0


@dataclass(slots=True)
class RequestRecord:
    """One request at its first gateway."""

    number: int
    service: str
    country: str
    kind: Kind
    criticality: Criticality
    safe: bool
    """Whether it may be sent twice."""
    zones: frozenset[str]
    gateway: str
    region: str
    """Of the gateway; ``entry`` for an entry."""
    started: float
    timeout_s: float
    repeat: bool = False
    """Whether its client sends it again because it failed."""
    ended: float = -1.0
    outcome: Outcome | None = None
    detail: str = ""
    answered_by: str = ""
    ends: int = 0
    """How often its end was recorded; anything but one is a fault of the simulated code."""
    attempts: list[AttemptRecord] = field(default_factory=list)
    executed_in: list[str] = field(default_factory=list)
    replica: str = ""
    """The last one that it was given to."""

    @property
    def heads(self) -> int:
        return sum(attempt.heads for attempt in self.attempts)


class Spans:
    """Stretches of time, of which any may overlap."""

    __slots__ = ("_all",)

    def __init__(self) -> None:
        self._all: list[tuple[float, float]] = []

    def add(self, begin: float, end: float) -> None:
        self._all.append((begin, end))

    def touch(self, begin: float, end: float) -> bool:
        """Whether any of them has a moment in common with this one."""
        return any(first <= end and begin <= last for first, last in self._all)


class Peaks:
    """The highest value that a gauge had in each slice of time."""

    SLICE_S = 0.25

    __slots__ = ("_peaks", "value")

    def __init__(self) -> None:
        self.value = 0
        self._peaks: list[int] = [0]

    def add(self, change: int, now: float) -> None:
        self._reach(now)
        self.value += change
        self._peaks[-1] = max(self._peaks[-1], self.value)

    def highest(self, begin: float, end: float) -> int:
        """Over a stretch, whole slices counted."""
        first, last = int(begin / self.SLICE_S), int(end / self.SLICE_S)
        known = self._peaks[first : last + 1]
        return max(known, default=self.value)

    def _reach(self, now: float) -> None:
        missing = int(now / self.SLICE_S) + 1 - len(self._peaks)
        if missing > 0:
            self._peaks.extend([self.value] * missing)


@dataclass(frozen=True, slots=True)
class WeightSample:
    """What share of its traffic a gateway meant to send to each region, at one moment."""

    at: float
    gateway: str
    service: str
    shares: tuple[tuple[str, float], ...]


@dataclass(slots=True)
class Record:
    """All of it."""

    requests: list[RequestRecord] = field(default_factory=list)
    trouble: dict[str, Spans] = field(default_factory=dict)
    """Region -> when something was wrong with any part of it."""
    cuts: dict[tuple[str, str], Spans] = field(default_factory=dict)
    """Direction of a link -> when something was wrong with it."""
    frozen: dict[str, Spans] = field(default_factory=dict)
    """Replica -> when it stood still, and region -> when all of it did."""
    stalls: dict[str, Spans] = field(default_factory=dict)
    """Gateway -> when it stood still."""
    born: dict[str, float] = field(default_factory=dict)
    """Gateway -> when its newest process started."""
    denials: defaultdict[tuple[str, str], Spans] = field(default_factory=lambda: defaultdict(Spans))
    """(Gateway, service) -> when its budget refused a further attempt."""
    load: dict[tuple[str, str], Peaks] = field(default_factory=dict)
    """(Region, service) -> requests in its replicas."""
    capacity: dict[tuple[str, str], int] = field(default_factory=dict)
    """(Region, service) -> what sound replicas work on at once."""
    weights: list[WeightSample] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    """What was not given back at the end, in words."""
    misled: list[str] = field(default_factory=list)
    """What breakers did that they must not, in words."""
    disturbed: list[float] = field(default_factory=list)
    """When something changed: a fault began or ended, a rate jumped. In order."""
    began: float = 0.0
    """When the scenario did, in the times of everything here."""
    rtts_s: dict[tuple[str, str], float] = field(default_factory=dict)
    """Between a gateway's region (or ``entry``) and another one, without faults."""

    def digest(self) -> str:
        """SHA-256 of everything that happened, in order: two runs are the same if their digests are."""
        hashed = hashlib.sha256()
        for request in self.requests:
            hashed.update(
                f"{request.number} {request.gateway} {request.outcome} {request.answered_by} "
                f"{request.detail}\n".encode()
            )
            hashed.update(struct.pack("<dd", request.started, request.ended))
            for attempt in request.attempts:
                hashed.update(f"{attempt.region} {attempt.heads} {attempt.outcome}\n".encode())
                hashed.update(struct.pack("<dd", attempt.started, attempt.ended))
        return hashed.hexdigest()

    def quiet(self, begin: float, end: float) -> bool:
        """Whether nothing changed in a stretch of time."""
        return bisect_left(self.disturbed, begin) == bisect_right(self.disturbed, end)


def percentile(values: Iterable[float], share: float) -> float | None:
    """The value that this share of all lies under (nearest rank); None of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
