"""When visits begin: an open loop. Nothing that the system does, slowness included, changes it.

Visits are a Poisson process whose rate follows a `Shape`. It is made by thinning (Lewis and Shedler, "Simulation of
nonhomogeneous Poisson processes by thinning", Naval Research Logistics Quarterly 26, 1979): candidates come at the
highest rate there is, and each stays with the probability of the rate at its time over the highest one.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from loadtests.drills.scenario import Shape, ShapeKind


@dataclass(frozen=True, slots=True)
class Arrival:
    """A visit that is to begin `at_s` seconds after the load began."""

    at_s: float
    sale: bool = False
    """One of those who come for a flash sale alone."""


class ShapeError(ValueError):
    """A shape that says too little or the impossible; `problems` has a sentence for each field that is wrong."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name} {problem}" for name, problem in problems.items()))
        self.problems = problems


_NEEDED = {
    ShapeKind.STEADY: (),
    ShapeKind.RAMP: ("peak", "at_s", "for_s"),
    ShapeKind.SPIKE: ("peak", "at_s", "for_s"),
    ShapeKind.SUN: ("period_s",),
    ShapeKind.SAWTOOTH: ("peak", "period_s"),
    ShapeKind.FLASH_SALE: ("peak", "at_s", "for_s", "country"),
}


def check(shape: Shape) -> None:
    """Raises `ShapeError` if a shape lacks a field that its kind needs, or has an impossible one."""
    needed = _NEEDED[shape.kind]
    problems = {
        name: f"is needed for the shape {shape.kind}" for name in needed if getattr(shape, name) is None
    }
    if not shape.rate > 0:
        problems["rate"] = "must be above 0 visits a second"
    for name in ("peak", "for_s", "period_s"):
        value = getattr(shape, name)
        if value is not None and not value > 0:
            problems[name] = "must be above 0"
    if shape.at_s is not None and not shape.at_s >= 0:
        problems["at_s"] = "must be 0 or more seconds"
    if shape.kind is ShapeKind.SAWTOOTH and shape.peak is not None and not shape.peak > shape.rate:
        problems["peak"] = "must be above the rate for the shape sawtooth"
    if problems:
        raise ShapeError(problems)


def rate(shape: Shape, at_s: float) -> float:
    """Visits a second, `at_s` seconds after the load began. `check` has passed the shape."""
    peak, since_s, for_s = shape.peak or 0.0, at_s - (shape.at_s or 0.0), shape.for_s or 0.0
    match shape.kind:
        case ShapeKind.STEADY | ShapeKind.SUN:
            return shape.rate
        case ShapeKind.RAMP:
            return shape.rate + (peak - shape.rate) * min(1.0, max(0.0, since_s / for_s))
        case ShapeKind.SPIKE:
            return peak if in_spike(shape, at_s) else shape.rate
        case ShapeKind.SAWTOOTH:
            assert shape.period_s is not None
            return shape.rate + (peak - shape.rate) * (at_s % shape.period_s) / shape.period_s
        case ShapeKind.FLASH_SALE:
            return shape.rate + sale_rate(shape, at_s)


def in_spike(shape: Shape, at_s: float) -> bool:
    """Whether this is the time of a spike."""
    since_s = at_s - (shape.at_s or 0.0)
    return shape.kind is ShapeKind.SPIKE and 0.0 <= since_s < (shape.for_s or 0.0)


def sale_rate(shape: Shape, at_s: float) -> float:
    """Of them, those who come for a flash sale."""
    if shape.kind is not ShapeKind.FLASH_SALE:
        return 0.0
    return (shape.peak or 0.0) if 0.0 <= at_s - (shape.at_s or 0.0) < (shape.for_s or 0.0) else 0.0


def arrivals(shape: Shape, until_s: float, rng: random.Random) -> Iterator[Arrival]:
    """The visits of a load that goes on for `until_s` seconds, in the order of time.

    The same random source gives the same visits. Raises `ShapeError`.
    """
    check(shape)
    peak = shape.peak or 0.0
    highest = shape.rate + peak if shape.kind is ShapeKind.FLASH_SALE else max(shape.rate, peak)
    at_s = 0.0
    while (at_s := at_s + rng.expovariate(highest)) < until_s:
        chosen = rng.random() * highest
        if chosen < rate(shape, at_s):
            yield Arrival(at_s, sale=chosen < sale_rate(shape, at_s))
