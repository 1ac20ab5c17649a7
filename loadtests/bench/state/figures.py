"""From measurements to figures: rounds that stood side by side, lag of each link, round trips, and aims."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

WRITE_RATIO = 0.5
READ_RATIO = 0.8
LAG_ABOVE_HALF_TRIP_MS = 50.0
TRIPS = 1.5
"""Of the round trips that a warm strong change needs: twice as many would be another phase."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one subject. Where many commands are sent at once, a latency is that of all of them."""

    per_s: float
    p50_us: float
    p99_us: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """An operation beside a bare command, in interleaved rounds."""

    operation: str
    against: str
    way: str
    """How they were asked for: one after the other, at once, pipelined."""
    ours: Sample
    theirs: Sample
    ratio: float
    """Median of the rounds' ratios of throughput. Above 1 the operation is the faster one."""
    low: float
    high: float
    """Quartiles of the ratios."""
    rounds: int
    wanted: float | None = None


@dataclass(frozen=True, slots=True)
class Throughput:
    """A burst of writes, and when all regions had it."""

    origins: tuple[str, ...]
    writes: int
    written_per_s: float
    """While it was written, which is slower than a store alone: others apply at the same time on this machine."""
    replicated_per_s: float
    """From the first write until every region has the last one."""


@dataclass(frozen=True, slots=True)
class Lag:
    """From when a write was sent to its own region's store until a reader of the other region can see it."""

    origin: str
    destination: str
    rtt_ms: float
    writes: int
    p50_ms: float
    p99_ms: float
    most_ms: float

    @property
    def limit_ms(self) -> float:
        """What p99 is to stay under."""
        return self.rtt_ms / 2 + LAG_ABOVE_HALF_TRIP_MS


@dataclass(frozen=True, slots=True)
class Arrival:
    """A region has come to know an actor's operations up to a number."""

    destination: str
    actor: str
    seq: int
    at: float


@dataclass(frozen=True, slots=True)
class Trips:
    """An operation on strong registers, from one region on keys that are at home in one."""

    operation: str
    caller: str
    home: str
    count: int
    needed_ms: float
    """One round trip from the caller to the home, and one from there to the nearest majority; 0 without latency."""
    p50_ms: float
    p99_ms: float
    wanted: float | None = None

    @property
    def round_trips(self) -> float | None:
        """The median by what is needed; None where links take no time."""
        return self.p50_ms / self.needed_ms if self.needed_ms else None


@dataclass(frozen=True, slots=True)
class Memory:
    """What one key occupies in a store, its index included and its log entry not."""

    what: str
    keys: int
    ours_bytes: float
    bare_bytes: float
    log_bytes: float
    """Of one write's log entry, until all regions have it."""

    @property
    def ratio(self) -> float:
        return self.ours_bytes / self.bare_bytes if self.bare_bytes else 0.0


@dataclass(frozen=True, slots=True)
class Aim:
    """One aim and what was reached."""

    aim: str
    wanted: float
    reached: float
    at_most: bool = False
    """Whether less is better."""

    @property
    def passed(self) -> bool:
        return self.reached <= self.wanted if self.at_most else self.reached >= self.wanted


def quantile(values: Iterable[float], share: float) -> float:
    """The nearest rank; 0 of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def sample(count: int, elapsed_s: float, latencies_s: Sequence[float]) -> Sample:
    """A round in which `count` operations took `elapsed_s` in all."""
    return Sample(count / elapsed_s, quantile(latencies_s, 0.5) * 1e6, quantile(latencies_s, 0.99) * 1e6)


def compare(
    operation: str,
    against: str,
    way: str,
    pairs: Sequence[tuple[Sample, Sample]],
    wanted: float | None = None,
) -> Comparison:
    """From each round's sample of the operation and of the bare command, at least one."""
    ratios = [ours.per_s / theirs.per_s for ours, theirs in pairs]
    low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Comparison(
        operation=operation,
        against=against,
        way=way,
        ours=_middle([ours for ours, _ in pairs]),
        theirs=_middle([theirs for _, theirs in pairs]),
        ratio=median(ratios),
        low=low,
        high=high,
        rounds=len(pairs),
        wanted=wanted,
    )


def _middle(samples: Sequence[Sample]) -> Sample:
    return Sample(
        median(one.per_s for one in samples),
        median(one.p50_us for one in samples),
        median(one.p99_us for one in samples),
    )


def lags(
    sent: Mapping[str, Sequence[tuple[int, float]]],
    arrivals: Iterable[Arrival],
    origins: Mapping[str, str],
    rtt_ms: Mapping[tuple[str, str], float],
) -> list[Lag]:
    """One for each direction. `sent` has each actor's numbers, ascending, and when they were sent; `origins` says whose
    actor it is. Raises `ValueError` if a region never came to know a write: a lag without its worst is none.
    """
    reached: dict[tuple[str, str], list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        reached[arrival.destination, arrival.actor].append(arrival)
    found = []
    for (origin, destination), rtt in sorted(rtt_ms.items()):
        taken: list[float] = []
        for actor, writes in sent.items():
            if origins[actor] == origin:
                taken += _taken(writes, reached[destination, actor], destination)
        found.append(
            Lag(
                origin=origin,
                destination=destination,
                rtt_ms=rtt,
                writes=len(taken),
                p50_ms=quantile(taken, 0.5) * 1000,
                p99_ms=quantile(taken, 0.99) * 1000,
                most_ms=max(taken, default=0.0) * 1000,
            )
        )
    return found


def _taken(writes: Sequence[tuple[int, float]], arrivals: Sequence[Arrival], destination: str) -> list[float]:
    ordered = sorted(arrivals, key=lambda arrival: arrival.at)
    at, taken = 0, []
    for seq, sent in writes:
        while at < len(ordered) and ordered[at].seq < seq:
            at += 1
        if at == len(ordered):
            raise ValueError(f"write {seq} never came to {destination}")
        taken.append(ordered[at].at - sent)
    return taken


def needed_ms(
    caller: str, home: str, acceptors: Iterable[str], rtt_ms: Mapping[tuple[str, str], float]
) -> float:
    """Round trips of a warm strong change: to the home, and from there to the nearest majority with itself in it."""
    members = sorted(0.0 if member == home else rtt_ms[home, member] for member in acceptors)
    to_home = 0.0 if caller == home else rtt_ms[caller, home]
    return to_home + members[len(members) // 2]


def aims(comparisons: Iterable[Comparison], found: Iterable[Lag], trips: Iterable[Trips]) -> list[Aim]:
    """Everything that was to be reached, of what was measured."""
    return [
        *(
            Aim(f"{one.operation} by {one.against}, {one.way}", one.wanted, one.ratio)
            for one in comparisons
            if one.wanted is not None
        ),
        *(
            Aim(f"lag p99 in ms, {one.origin} -> {one.destination}", one.limit_ms, one.p99_ms, at_most=True)
            for one in found
        ),
        *(
            Aim(
                f"round trips by needed ones, {one.operation}, {one.caller} to home {one.home}",
                one.wanted,
                one.round_trips,
                at_most=True,
            )
            for one in trips
            if one.wanted is not None and one.round_trips is not None
        ),
    ]
