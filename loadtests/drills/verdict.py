"""From figures to a verdict: what was expected, what was seen, and whether that says anything."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from loadtests.drills.figures import Figures, find, flatten, value
from loadtests.drills.record import Record
from loadtests.drills.scenario import Drill, Expectation, FaultKind, Limits

TOO_BUSY = 0.8
"""Share of the machine's processor time above which its figures are the machine's own, not Atoll's (`design.md`)."""
ENOUGH = 5
"""A steady state of fewer requests is none."""


class Outcome(StrEnum):
    """How a drill ended."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    """It shows nothing: the machine was too busy, the steady state did not hold, or a figure could not be had."""
    ABORTED = "aborted"
    """Called off: its error budget was spent, or somebody ended it."""

    @property
    def exit_status(self) -> int:
        """The exit status of a process with this outcome: 0, 1, or 4."""
        return {Outcome.PASSED: 0, Outcome.FAILED: 1}.get(self, 4)


@dataclass(frozen=True, slots=True)
class Judged:
    """One expectation."""

    figure: str
    meaning: str
    """What the figure is, in words."""
    unit: str
    expected: str
    """``at most 1``, ``at least 0.9``, ``from 1 to 3``."""
    at_least: float | None
    at_most: float | None
    seen: float | None
    """None: nothing was seen of it; infinite: it never happened."""
    held: bool | None
    """None: it can't be said."""
    limit: bool
    """Whether it bounds the blast radius, which the drill's file has apart from what it expects."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a drill showed."""

    outcome: Outcome
    reasons: tuple[str, ...]
    """Why, in words for people; the weightiest first. Empty if all held."""
    judged: tuple[Judged, ...]


def judge(figures: Figures, record: Record, drill: Drill, stopped: str = "") -> Verdict:
    """`stopped` says why the drill was ended before its time, if it was.

    The first of these that is so decides:

    1. **aborted**: it was stopped, or its error budget was spent;
    2. **inconclusive**: the steady state did not hold; or more than `TOO_BUSY` of the machine was in use, as a mean
       over the whole drill, or between fault and heal (after the heal alone it may be: the processes of a region that
       starts again take all there is for some seconds); or nobody looked how busy it was;
    3. **failed**: an expectation or a limit did not hold;
    4. **inconclusive**: a figure that was expected has no value;
    5. **passed**.

    A restart storm is itself what makes the machine busy. It must not have been so before. From then on too little
    processor time makes nothing better: what held counts, and what did not may be the machine's doing (inconclusive).
    """
    flat = flatten(figures)
    judged = (*(_judged(flat, one) for one in drill.expectations), *_limits(flat, drill.limits))
    unsteady = list(_unsteady(flat, drill))
    storm = any(fault.kind is FaultKind.RESTART_STORM for fault in drill.faults)
    busy = list(_busy(flat, _BEFORE if storm else _THROUGHOUT))
    by_storm = list(_busy(flat, _THROUGHOUT)) if storm else []
    broken = [_broken(one) for one in judged if one.held is False]
    unseen = [f"{one.figure}: nothing was seen of it" for one in judged if one.held is None]
    spent = (
        [f"the error budget of {drill.limits.failed} failed requests is spent: {figures.failed}"]
        if budget_spent(figures.failed, drill.limits)
        else []
    )
    called_off = [stopped] if stopped else spent
    if called_off:
        outcome, first = Outcome.ABORTED, called_off
    elif unsteady or busy:
        outcome, first = Outcome.INCONCLUSIVE, [*unsteady, *busy]
    elif broken and by_storm:
        outcome, first = Outcome.INCONCLUSIVE, by_storm
    elif broken:
        outcome, first = Outcome.FAILED, broken
    elif unseen:
        outcome, first = Outcome.INCONCLUSIVE, unseen
    else:
        outcome, first = Outcome.PASSED, []
    reasons = dict.fromkeys([*first, *called_off, *unsteady, *busy, *broken, *unseen])
    return Verdict(outcome, tuple(reasons), judged)


def budget_spent(failed: int, limits: Limits) -> bool:
    """Whether a drill is to be called off after so many failed requests from the fault on."""
    return failed >= limits.failed


def _judged(flat: Mapping[str, float | None], one: Expectation, *, limit: bool = False) -> Judged:
    seen = value(flat, one.figure)
    figure = find(one.figure)
    held = None if seen is None else _within(seen, one)
    return Judged(
        figure=one.figure,
        meaning="" if figure is None else figure.meaning,
        unit="" if figure is None else figure.unit,
        expected=_bounds(one),
        at_least=one.at_least,
        at_most=one.at_most,
        seen=seen,
        held=held,
        limit=limit,
    )


def _within(seen: float, one: Expectation) -> bool:
    return (one.at_least is None or seen >= one.at_least) and (one.at_most is None or seen <= one.at_most)


def _limits(flat: Mapping[str, float | None], limits: Limits) -> Iterator[Judged]:
    yield _judged(flat, Expectation("failed", at_most=limits.failed - 1), limit=True)
    if limits.failed_elsewhere is not None:
        yield _judged(flat, Expectation("failed_elsewhere", at_most=limits.failed_elsewhere), limit=True)


def _unsteady(flat: Mapping[str, float | None], drill: Drill) -> Iterator[str]:
    requests, errors = flat["before.requests"] or 0, flat["before.errors"] or 0
    if requests < ENOUGH:
        yield f"there was no steady state: {requests:.0f} requests were over before the fault"
    elif errors / requests > drill.steady_errors:
        yield (
            f"the steady state did not hold: {errors:.0f} of {requests:.0f} requests failed before the fault, "
            f"and {drill.steady_errors:.2%} may"
        )


_BEFORE = {"before.busy": "before the fault"}
_THROUGHOUT = {"busy.mean": "of the whole drill", "during.busy": "between fault and heal"}


def _busy(flat: Mapping[str, float | None], parts: Mapping[str, str]) -> Iterator[str]:
    """Why a machine was too busy in these parts of a drill."""
    if flat["busy.mean"] is None:
        yield "nobody looked how busy the machine was"
    for name, when in parts.items():
        if (share := flat[name]) is not None and share > TOO_BUSY:
            yield (
                f"the machine was too busy: {share:.0%} {when}, and over {TOO_BUSY:.0%} its figures are not Atoll's; "
                "try a lower --rate, or end what else runs"
            )


def _bounds(one: Expectation) -> str:
    match one:
        case Expectation(at_most=None, at_least=float() | int() as least):
            return f"at least {least:g}"
        case Expectation(at_most=float() | int() as most, at_least=None):
            return f"at most {most:g}"
        case Expectation(at_most=float() | int() as most, at_least=float() | int() as least):
            return f"from {least:g} to {most:g}"
    return "anything"


def _broken(one: Judged) -> str:
    return f"{one.figure}: expected {one.expected}, seen {written(one.seen)}"


def written(seen: float | None) -> str:
    """A value as people read it."""
    if seen is None:
        return "nothing"
    return "never" if math.isinf(seen) else f"{seen:.4g}" if seen % 1 else f"{seen:.0f}"
