"""Two reports of one drill side by side: what got better, what got worse, and what is only noise."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from loadtests.drills.figures import find
from loadtests.drills.report import DrillDocument, Setting, Value

RELATIVE = 0.2
"""A time, a rate or a ratio that changed by less than this part is not said to have changed."""
TAIL = 0.5
"""The same for a p99, if it is of at least `TAIL_REQUESTS`: of 500 it is the fifth largest, which chance moves a lot.
Beyond it, and of its ratio to the steady state's, nothing is said at all."""
TAIL_REQUESTS = 500
UNTOLD = ("latency.p999_s", "latency.max_s", "latency.p99_ratio")
LEAST_S = {"recovery_s": 3.0, "reaction_s": 1.5, "calm_s": 1.5}
"""Times that changed by less have not: a region's share is seen over many requests, replicas once a second."""
LEAST_LATENCY_S = 0.01
LEAST_MOMENT_S = 0.5
SHARE = 0.01
SIGMAS = 3.0
"""Errors are rare and come one by one, so chance makes n of them into n plus or minus the root of n (Poisson)."""


class CompareError(Exception):
    """Two reports that can't be compared; says why."""


class Change(StrEnum):
    """What became of a figure."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    """As far as chance lets one see."""
    OTHER = "other"
    """It changed, and neither way is the better one."""
    UNSEEN = "unseen"
    """One of the two reports does not have it."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure."""

    figure: str
    unit: str
    old: Value
    new: Value
    difference: float | None
    """New less old; None unless both are numbers."""
    change: Change


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two reports."""

    name: str
    old_date: str
    new_date: str
    old_outcome: str
    new_outcome: str
    warnings: tuple[str, ...]
    """What else differs, so that the figures may differ for that."""
    figures: tuple[Compared, ...]

    @property
    def telling(self) -> tuple[Compared, ...]:
        """What got better or worse, the worse first."""
        return tuple(
            one for want in (Change.WORSE, Change.BETTER) for one in self.figures if one.change is want
        )


def check(old: DrillDocument, name: str) -> None:
    """Raises `CompareError` if a report can't stand beside one of this drill."""
    if old.name != name:
        raise CompareError(
            f"the reports are of different drills: {old.name!r} and {name!r}; give an older report of {name!r}"
        )


def compare(old: DrillDocument, new: DrillDocument) -> Comparison:
    """Raises `CompareError` if they are of different drills."""
    check(old, new.name)
    return Comparison(
        name=new.name,
        old_date=old.setting.date,
        new_date=new.setting.date,
        old_outcome=old.verdict.outcome.value,
        new_outcome=new.verdict.outcome.value,
        warnings=tuple(_warnings(old, new)),
        figures=tuple(
            _compared(name, old.figures, new.figures) for name in dict.fromkeys([*new.figures, *old.figures])
        ),
    )


def _warnings(old: DrillDocument, new: DrillDocument) -> Iterator[str]:
    before, after = old.setting, new.setting
    for key in dict.fromkeys([*before.machine, *after.machine]):
        if (was := before.machine.get(key)) != (is_ := after.machine.get(key)):
            yield f"another machine: {key} was {was}, and is {is_}"
    if before.rate != after.rate:
        yield f"another rate: {before.rate:g} visits a second, then {after.rate:g}"
    if before.durations != after.durations:
        yield f"other durations: {_form(before)}, then {_form(after)}"
    if before.topology_digest != after.topology_digest:
        yield "another topology, or another version of it"
    if before.without != after.without:
        yield f"turned off: {before.without or 'nothing'}, then {after.without or 'nothing'}"
    if old.drill != new.drill:
        yield "the drill's file was changed in between"


def _form(setting: Setting) -> str:
    parts = setting.durations
    form = "short" if setting.short else "long"
    return f"{form} ({parts.steady_s:g} + {parts.fault_s:g} + {parts.recovery_s:g} s)"


def _compared(name: str, old_figures: Mapping[str, Value], new_figures: Mapping[str, Value]) -> Compared:
    figure = find(name)
    old, new = old_figures.get(name), new_figures.get(name)
    number = not isinstance(old, str) and old is not None and not isinstance(new, str) and new is not None
    change = Change.SAME
    if old is None or new is None:
        change = Change.UNSEEN
    elif old != new and _beyond_noise(name, old_figures, new_figures):
        better = (_number(new) - _number(old)) * (direction := _direction(name)) > 0
        change = Change.OTHER if not direction else Change.BETTER if better else Change.WORSE
    return Compared(
        figure=name,
        unit="" if figure is None else figure.unit,
        old=old,
        new=new,
        difference=_number(new) - _number(old) if number else None,
        change=change,
    )


def _number(value: Value) -> float:
    """What never happened took longer than anything."""
    assert value is not None
    return math.inf if isinstance(value, str) else value


def _beyond_noise(name: str, old: Mapping[str, Value], new: Mapping[str, Value]) -> bool:
    before, after = _number(old[name]), _number(new[name])
    if name in _EXACT or math.isinf(before) or math.isinf(after):
        return True
    if name.endswith(UNTOLD):
        return False
    difference = abs(after - before)
    group, _, last = name.rpartition(".")
    if last == "availability":
        return _errors_differ(group, old, new)
    figure = find(name)
    match "" if figure is None else figure.unit:
        case "s" if ".latency." in name:
            if last != "p99_s":
                return difference > max(LEAST_LATENCY_S, RELATIVE * max(before, after))
            counted = f"{group.removesuffix('.latency')}.requests"
            enough = min(_number(old[counted]), _number(new[counted])) >= TAIL_REQUESTS
            return enough and difference > max(LEAST_LATENCY_S, TAIL * max(before, after))
        case "s":
            return difference > max(LEAST_S.get(last, LEAST_MOMENT_S), RELATIVE * max(before, after))
        case "share":
            return difference > SHARE
        case "requests" | "writes" | "processes":
            return difference > SIGMAS * math.sqrt(before + after)
        case _:
            return difference > RELATIVE * max(abs(before), abs(after))


def _errors_differ(group: str, old: Mapping[str, Value], new: Mapping[str, Value]) -> bool:
    """Whether the share of errors is another one: each of the two is off by chance."""
    shares, variance = [], 0.0
    for figures in (old, new):
        errors, requests = _number(figures[f"{group}.errors"]), _number(figures[f"{group}.requests"])
        shares.append(errors / requests)
        variance += errors / requests**2
    return abs(shares[0] - shares[1]) > SIGMAS * math.sqrt(variance)


def _direction(name: str) -> int:
    """1: more is better; -1: less is; 0: neither."""
    last = name.rpartition(".")[2]
    if last in _MORE:
        return 1
    if last in _LESS or ".errors" in name or ".latency." in name or name.startswith(_LESS_OF):
        return -1
    return 0


_MORE = frozenset({"availability", "goodput_per_s"})
_LESS = frozenset(
    {
        "amplification",
        "duplicated",
        "failed",
        "failed_elsewhere",
        "last_error_s",
        "lost",
        "reaction_s",
        "recovery_s",
        "restarts",
        "settled_s",
        "turns",
    }
)
_EXACT = frozenset({"writes.lost", "writes.duplicated"})
"""One is one too many."""
_LESS_OF = ("exposure.", "amplification.")
