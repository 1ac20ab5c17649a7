"""How replicas followed the load: when more came, when they went, and whether they swung."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from loadtests.drills.figures.settling import NEVER
from loadtests.drills.record import Phases, Sample


@dataclass(frozen=True, slots=True)
class ScalingFigures:
    """Replicas, counted for each service and region. All None where no replicas were seen."""

    reaction_s: float | None
    """From the fault (the load's rise) until a service of a region first ran more replicas than ever before it; `NEVER`
    if none did. A replica that comes back after a fault is none more.
    """
    calm_s: float | None
    """From the heal (the load's fall) until no service of any region ran more than before the fault, for good; `NEVER`
    if some still did at the end, None if none had come.
    """
    turns: int | None
    """Changes of direction of what Serve wanted, where there were most. One surge is one turn: up, and down again."""
    most_replicas: int | None
    """Running at once, all services and regions together."""
    added: int | None
    """More than before the fault, at most at once, all services and regions together."""


@dataclass(frozen=True, slots=True)
class _Count:
    at_s: float
    running: int
    wanted: int


def scaling_figures(samples: Sequence[Sample], phases: Phases) -> ScalingFigures:
    """From the samples of a drill, in the order of time."""
    series = {key: list(_series(samples, *key)) for key in _keys(samples)}
    if not series:
        return ScalingFigures(None, None, None, None, None)
    before = {
        key: max((count.running for count in counts if count.at_s <= phases.fault_s), default=None)
        for key, counts in series.items()
    }
    more: list[float] = []
    for key, counts in series.items():
        if (usual := before[key]) is not None:
            more += [count.at_s for count in counts if count.at_s > phases.fault_s and count.running > usual]
    more.sort()
    return ScalingFigures(
        reaction_s=more[0] - phases.fault_s if more else NEVER,
        calm_s=_calm_s(samples, more, phases),
        turns=max(_turns([count.wanted for count in counts]) for counts in series.values()),
        most_replicas=max(
            sum(sum(region.replicas.values()) for region in sample.regions.values()) for sample in samples
        ),
        added=_added(samples, before, phases),
    )


def _keys(samples: Iterable[Sample]) -> list[tuple[str, str]]:
    return sorted(
        {
            (name, service)
            for sample in samples
            for name, region in sample.regions.items()
            for service in region.replicas
        }
    )


def _series(samples: Iterable[Sample], region: str, service: str) -> Iterator[_Count]:
    """A region that doesn't answer tells of none of its replicas: that is a gap, not a change."""
    for sample in samples:
        if (seen := sample.regions.get(region)) is not None and service in seen.replicas:
            running = seen.replicas[service]
            yield _Count(sample.at_s, running, seen.targets.get(service, running))


def _calm_s(samples: Sequence[Sample], more: Sequence[float], phases: Phases) -> float | None:
    if not more:
        return None
    after = [sample.at_s for sample in samples if sample.at_s > max(more[-1], phases.heal_s)]
    return after[0] - phases.heal_s if after else NEVER


def _turns(wanted: Sequence[int]) -> int:
    steps = [later - earlier for earlier, later in pairwise(wanted) if later != earlier]
    return sum((one > 0) != (other > 0) for one, other in pairwise(steps))


def _added(samples: Iterable[Sample], before: dict[tuple[str, str], int | None], phases: Phases) -> int:
    return max(
        (
            sum(
                max(0, region.replicas[service] - usual)
                for (name, service), usual in before.items()
                if usual is not None
                and (region := sample.regions.get(name)) is not None
                and service in region.replicas
            )
            for sample in samples
            if sample.at_s > phases.fault_s
        ),
        default=0,
    )
