"""Which requests and samples belong to which part of a drill."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType

from loadtests.drills.record import Phases, Record, Request, Sample

UNFINISHED = "unfinished"
"""What users write of a request that had no answer yet when the load was ended."""


class Phase(StrEnum):
    """A part of a drill, as its users felt it."""

    BEFORE = "before"
    """Over before the fault: the steady state."""
    DURING = "during"
    """Any part of it fell between fault and heal: also what was under way when one of them came."""
    AFTER = "after"
    """Meant to be sent after the heal."""


def phase_of(request: Request, phases: Phases) -> Phase:
    """Every request belongs to exactly one phase."""
    if request.ended_s < phases.fault_s:
        return Phase.BEFORE
    return Phase.DURING if request.due_s < phases.heal_s else Phase.AFTER


def counted(record: Record) -> tuple[Request, ...]:
    """The requests that count, in the order of when they were due. Those due before the steady state warmed it up; of
    those that the end of the drill cut off nobody knows what would have come of them.
    """
    phases = record.phases
    return tuple(
        sorted(
            (
                request
                for request in record.requests
                if phases.steady_s <= request.due_s <= phases.end_s and request.error != UNFINISHED
            ),
            key=lambda request: request.due_s,
        )
    )


def by_phase(requests: Iterable[Request], phases: Phases) -> Mapping[Phase, tuple[Request, ...]]:
    """The requests of each phase, in the order in which they are given."""
    parts: dict[Phase, list[Request]] = {phase: [] for phase in Phase}
    for request in requests:
        parts[phase_of(request, phases)].append(request)
    return MappingProxyType({phase: tuple(part) for phase, part in parts.items()})


def span(phase: Phase, phases: Phases) -> tuple[float, float]:
    """When a phase begins and ends."""
    match phase:
        case Phase.BEFORE:
            return phases.steady_s, phases.fault_s
        case Phase.DURING:
            return phases.fault_s, phases.heal_s
        case Phase.AFTER:
            return phases.heal_s, phases.end_s


def seen_in(samples: Iterable[Sample], begin_s: float, end_s: float) -> list[Sample]:
    """The samples after `begin_s`, up to `end_s`: each tells of the second before it."""
    return [sample for sample in samples if begin_s < sample.at_s <= end_s]
