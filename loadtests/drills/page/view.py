"""From the document of a drill to what is drawn of it."""

from collections.abc import Iterator, Mapping, Sequence

from loadtests.drills.charts.data import Bin, BusyPoint, Event, PhaseLatency, Picture, ReplicaPoint
from loadtests.drills.page.words import fault_called, origin, seen_number
from loadtests.drills.record import MarkKind, Way
from loadtests.drills.report import DrillDocument, Value
from loadtests.drills.series import RegionSeries
from loadtests.drills.verdict import TOO_BUSY

SLIVER_S = 0.5
"""A last bin shorter than this is drawn with the one before it: rates of a moment are noise."""


def picture(document: DrillDocument) -> Picture:
    """Times in a document count from its beginning; in a picture, from the fault."""
    phases = document.phases
    return Picture(
        begin_s=-phases.fault_s,
        heal_s=phases.heal_s - phases.fault_s,
        end_s=phases.end_s - phases.fault_s,
        fault=fault_called(document.drill),
        origin=origin(document.drill),
        bins=list(_bins(document)),
        latency=(
            _latency(document.figures, "before"),
            _latency(document.figures, "during"),
            _latency(document.figures, "after"),
        ),
        replicas={
            name: list(_replicas(document.samples.at_s, region, phases.fault_s))
            for name, region in document.samples.regions.items()
            if region.replicas or region.targets
        },
        busy=[
            BusyPoint(at_s - phases.fault_s, share)
            for at_s, share in zip(document.samples.at_s, document.samples.busy, strict=True)
        ],
        busy_limit=TOO_BUSY,
        events=[*_marks(document), *_figures(document)],
    )


def _bins(document: DrillDocument) -> Iterator[Bin]:
    seen, phases = document.seconds, document.phases
    count = len(seen.requests)
    sliver = count > 1 and phases.end_s - (count - 1) < SLIVER_S
    groups = [[second] for second in range(count)]
    if sliver:
        groups[-2:] = [[count - 2, count - 1]]
    for group in groups:
        begin_s, end_s = float(group[0]), min(group[-1] + 1.0, phases.end_s)
        if end_s <= begin_s:
            end_s = begin_s + 1.0
        yield Bin(
            begin_s - phases.fault_s,
            end_s - phases.fault_s,
            {
                region: sum(counts[second] for second in group) / (end_s - begin_s)
                for region, counts in seen.traffic.items()
            },
            {kind: sum(counts[second] for second in group) for kind, counts in seen.errors.items()},
            _highest([seen.p50_s[second] for second in group]),
            _highest([seen.p99_s[second] for second in group]),
        )


def _highest(seconds: Sequence[float | None]) -> float | None:
    return max((1000 * value for value in seconds if value is not None), default=None)


def _latency(figures: Mapping[str, Value], phase: str) -> PhaseLatency:
    p50, p99 = (seen_number(figures.get(f"{phase}.latency.{name}_s")) for name in ("p50", "p99"))
    return PhaseLatency(None if p50 is None else 1000 * p50, None if p99 is None else 1000 * p99)


def _replicas(at_s: Sequence[float], region: RegionSeries, fault_s: float) -> Iterator[ReplicaPoint]:
    for number, at in enumerate(at_s):
        running, wanted = (
            [counts[number] for counts in services.values()] for services in (region.replicas, region.targets)
        )
        yield ReplicaPoint(at - fault_s, _sum(running), _sum(wanted))


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _marks(document: DrillDocument) -> Iterator[Event]:
    for mark in document.marks:
        if mark.kind is not MarkKind.PHASE:
            yield Event(mark.at_s - document.phases.fault_s, mark.kind, mark.text)


def _figures(document: DrillDocument) -> Iterator[Event]:
    """The moments of the verdict; for each way of its own where users went both."""
    ways: tuple[tuple[str, str], ...] = (
        (f"{Way.ENTRY}.", " behind the entry"),
        (f"{Way.DNS}.", " of users that follow DNS"),
    )
    both = all(document.figures.get(f"{way}settled_s") is not None for way, _ in ways)
    for way, whose in ways if both else (("", ""),):
        for name, text in (("last_error_s", "last error"), ("settled_s", "settled")):
            seen = seen_number(document.figures.get(f"{way}{name}"))
            if seen:
                yield Event(seen, None, text + whose)
    recovery = seen_number(document.figures.get("recovery_s"))
    heal_s = document.phases.heal_s - document.phases.fault_s
    if recovery is not None and heal_s > 0:
        yield Event(heal_s + recovery, None, "recovered")
