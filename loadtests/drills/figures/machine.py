"""What the machine and its processes went through."""

from collections.abc import Sequence
from itertools import pairwise

from loadtests.drills.record import Sample

WINDOW_S = 5.0


def mean_busy(samples: Sequence[Sample]) -> float | None:
    """The mean share of the processors' time in use, each sample by the time since the one before."""
    if not samples:
        return None
    weights = [1.0, *(later.at_s - earlier.at_s for earlier, later in pairwise(samples))]
    total = sum(weights)
    return sum(sample.busy * weight for sample, weight in zip(samples, weights, strict=True)) / total


def busiest(samples: Sequence[Sample]) -> float | None:
    """The highest mean over any 5 s."""
    means = [
        mean_busy([one for one in samples[: number + 1] if one.at_s > sample.at_s - WINDOW_S])
        for number, sample in enumerate(samples)
    ]
    return max((mean for mean in means if mean is not None), default=None)


def restarts(samples: Sequence[Sample]) -> int | None:
    """Processes of regions that ended by themselves and were started again, from the first sample to the last."""
    if not any(sample.regions for sample in samples):
        return None
    last: dict[str, int] = {}
    total = 0
    for sample in samples:
        for name, region in sample.regions.items():
            total += max(0, region.restarts - last.get(name, region.restarts))
            last[name] = region.restarts
    return total
