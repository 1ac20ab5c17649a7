"""What was seen second by second: the columns behind a report's plots."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from loadtests.drills.figures.phases import counted
from loadtests.drills.figures.users import percentile
from loadtests.drills.record import Record, RegionSample, Request, Sample


@dataclass(frozen=True, slots=True)
class Seconds:
    """One value for each whole second since the beginning, by when requests were due."""

    requests: tuple[int, ...]
    requests_by_way: Mapping[str, tuple[int, ...]]
    errors: Mapping[str, tuple[int, ...]]
    """Kind -> failed requests."""
    errors_by_way: Mapping[str, tuple[int, ...]]
    """Only ways with errors."""
    traffic: Mapping[str, tuple[int, ...]]
    """Region -> answers that it gave."""
    p50_s: tuple[float | None, ...]
    """Of those that succeeded; None where none did."""
    p99_s: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class RegionSeries:
    """One region at each sample; None where nothing was told of it."""

    state: tuple[str | None, ...]
    healthy_for: tuple[float | None, ...]
    replicas: Mapping[str, tuple[int | None, ...]]
    """Service -> running replicas."""
    targets: Mapping[str, tuple[int | None, ...]]
    """Service -> replicas that Serve wants."""
    in_flight: Mapping[str, tuple[int | None, ...]]


@dataclass(frozen=True, slots=True)
class SampleSeries:
    """The run at each sample."""

    at_s: tuple[float, ...]
    """Since the beginning."""
    busy: tuple[float, ...]
    regions: Mapping[str, RegionSeries]


def seconds(record: Record) -> Seconds:
    """The requests that were due from the beginning to the end of the drill, the last second begun included."""
    phases = record.phases
    size = max(1, math.ceil(phases.end_s - phases.steady_s))
    bins: list[list[Request]] = [[] for _ in range(size)]
    for request in counted(record):
        bins[min(size - 1, int(request.due_s - phases.steady_s))].append(request)
    took = [sorted(one.seconds for one in part if not one.failed) for part in bins]
    return Seconds(
        requests=tuple(map(len, bins)),
        requests_by_way=_columns(bins, lambda one: one.way),
        errors=_columns(bins, lambda one: one.error),
        errors_by_way=_columns(bins, lambda one: one.way if one.failed else ""),
        traffic=_columns(bins, lambda one: "" if one.failed else one.region),
        p50_s=tuple(_rounded(percentile(part, 0.5)) for part in took),
        p99_s=tuple(_rounded(percentile(part, 0.99)) for part in took),
    )


def sample_series(samples: Sequence[Sample], begin_s: float) -> SampleSeries:
    """Columns from rows."""
    names = sorted({name for sample in samples for name in sample.regions})
    return SampleSeries(
        at_s=tuple(round(sample.at_s - begin_s, 2) for sample in samples),
        busy=tuple(round(sample.busy, 3) for sample in samples),
        regions={name: _region([sample.regions.get(name) for sample in samples]) for name in names},
    )


def _columns(bins: Iterable[Iterable[Request]], key: Callable[[Request], str]) -> dict[str, tuple[int, ...]]:
    """How many requests of each second have a key; those with an empty one are left out."""
    counts = [Counter(map(key, part)) for part in bins]
    names = sorted({str(name) for count in counts for name in count if name})
    return {name: tuple(count[name] for count in counts) for name in names}


def _region(seen: Sequence[RegionSample | None]) -> RegionSeries:
    return RegionSeries(
        state=tuple(None if one is None else one.state for one in seen),
        healthy_for=tuple(None if one is None else round(one.healthy_for, 3) for one in seen),
        replicas=_services([None if one is None else one.replicas for one in seen]),
        targets=_services([None if one is None else one.targets for one in seen]),
        in_flight=_services([None if one is None else one.in_flight for one in seen]),
    )


def _services(seen: Sequence[Mapping[str, int] | None]) -> dict[str, tuple[int | None, ...]]:
    names = sorted({name for one in seen if one is not None for name in one})
    return {name: tuple(None if one is None else one.get(name) for one in seen) for name in names}


def _rounded(value: float | None) -> float | None:
    """To a tenth of a millisecond: more would only be longer."""
    return None if value is None else round(value, 4)
