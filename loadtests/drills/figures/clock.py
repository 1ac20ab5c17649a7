"""How soon a wrong clock was noticed, and how soon it was trusted again."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.drills.figures.settling import NEVER
from loadtests.drills.record import Phases, Sample


@dataclass(frozen=True, slots=True)
class ClockFigures:
    """Both None where nobody told of any region."""

    noticed_s: float | None
    """From the fault until a region first refused writes because of its clock; `NEVER` if none did."""
    trusted_s: float | None
    """From the heal until none did any more, for good; `NEVER` if one still did at the end, None if none ever had."""


def clock_figures(samples: Sequence[Sample], phases: Phases) -> ClockFigures:
    """From the samples of a drill, in the order of time."""
    told = [sample for sample in samples if sample.regions and sample.at_s > phases.fault_s]
    if not told:
        return ClockFigures(None, None)
    refused = [
        sample.at_s for sample in told if any(region.refuses_writes for region in sample.regions.values())
    ]
    if not refused:
        return ClockFigures(NEVER, None)
    after = [sample.at_s for sample in told if sample.at_s > max(refused[-1], phases.heal_s)]
    trusted_s = 0.0 if refused[-1] <= phases.heal_s else after[0] - phases.heal_s if after else NEVER
    return ClockFigures(refused[0] - phases.fault_s, trusted_s)
