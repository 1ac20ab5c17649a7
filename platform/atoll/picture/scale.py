"""From values to points of the picture, and the ticks of an axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

_STEPS = (1.0, 2.0, 5.0)
_NOTHING = 1e-12
_WIDEST = 1e6
_TIME_STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)


class Scale(Protocol):
    """Where a value stands."""

    def __call__(self, value: float, /) -> float: ...


@dataclass(frozen=True, slots=True)
class Linear:
    """`low` stands at `begin`, `high` at `end`; what lies outside stands outside."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float, /) -> float:
        extent = self.high - self.low
        share = (value - self.low) / extent if extent > 0 else 0.0
        return self.begin + share * (self.end - self.begin)


@dataclass(frozen=True, slots=True)
class Logarithmic:
    """Equal ratios are equally far apart. `low` is above 0; what is below it stands at `begin`."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float, /) -> float:
        extent = math.log(self.high / self.low)
        share = math.log(max(value, self.low) / self.low) / extent if extent > 0 else 0.0
        return self.begin + share * (self.end - self.begin)


def ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    """The multiples of 1, 2 or 5 times a power of ten from `low` to `high`, `most` of them or fewer.

    Heckbert, "Nice numbers for graph labels", Graphics Gems, 1990.
    """
    if high - low < _NOTHING:
        return (low,)
    step = _step((high - low) / max(1, most - 1), low, high, most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(number * step for number in range(first, last + 1))


def _step(least: float, low: float, high: float, most: int) -> float:
    power = math.floor(math.log10(least))
    while True:
        for factor in _STEPS:
            step = factor * 10.0**power
            if step >= least * (1 - 1e-9) and math.floor(high / step) - math.ceil(low / step) < most:
                return step
        power += 1


def whole_ticks(high: int, most: int) -> tuple[float, ...]:
    """For counts: no halves."""
    return tuple(tick for tick in ticks(0, max(1, high), most) if tick == round(tick))


def top(high: float, most: int) -> float:
    """Where a linear axis from 0 ends: the first tick that is no lower than `high`, 1 if that is 0."""
    if high < _NOTHING:
        return 1.0
    step = _step(high / max(1, most - 1), 0.0, high, most)
    return math.ceil(high / step - 1e-9) * step


def logarithmic_ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    """1, 2 and 5 times the powers of ten from `low` to `high`; or fewer of them: at most `most`."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors, stride in (((1, 2, 5), 1), ((1, 3), 1), *(((1,), stride) for stride in range(1, 400))):
        found = tuple(
            float(f"{factor}e{power}")
            for power in range(first, last + 1)
            if power % stride == 0
            for factor in factors
            if low * (1 - 1e-9) <= float(f"{factor}e{power}") <= high * (1 + 1e-9)
        )
        if len(found) <= most:
            return found
    return ()


def logarithmic_range(values: Sequence[float], low: float = 1.0, high: float = 10.0) -> tuple[float, float]:
    """Where a logarithmic axis begins and ends so that all positive values fit: at 1, 2 or 5 times a power of ten.

    `low` and `high` hold where there are no values; the axis spans a factor of ten at least. What is below a millionth
    of the highest value stands at its beginning.
    """
    positive = [value for value in values if value > 0 and math.isfinite(value)]
    if not positive:
        return low, high
    highest = max(positive)
    begin, end = _below(max(min(positive), highest / _WIDEST)), _above(highest)
    return begin, max(end, 10 * begin)


def _below(value: float) -> float:
    power = math.floor(math.log10(value))
    return max(
        factor * 10.0**power for factor in (0.5, *_STEPS) if factor * 10.0**power <= value * (1 + 1e-9)
    )


def _above(value: float) -> float:
    power = math.floor(math.log10(value))
    return min(
        factor * 10.0**power for factor in (*_STEPS, 10.0) if factor * 10.0**power >= value * (1 - 1e-9)
    )


def time_ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    """Seconds, at steps that clocks have; 0 is one of them if it lies between."""
    steps = [*_TIME_STEPS, *(3600 * hours for hours in (2, 6, 12, 24, 24 * 7))]
    for step in steps:
        found = tuple(
            float(number * step) for number in range(math.ceil(low / step), math.floor(high / step) + 1)
        )
        if len(found) <= most:
            return found
    return ()


def number(value: float) -> str:
    """As short as it can be read: ``0``, ``0.25``, ``12``, ``1,200``."""
    size = abs(value)
    if size >= 100 or value == round(value):
        return f"{value:,.0f}"
    digits = 1 if size >= 10 else 2 if size >= 0.1 else 2 - math.floor(math.log10(size))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".")


def seconds(value: float, *, minutes: bool) -> str:
    """A tick of a time axis: ``-20``, or ``-0:20`` and ``12:30`` where `minutes` are counted."""
    sign = "\u2212" if value < 0 else ""
    size = abs(round(value))
    return f"{sign}{size // 60}:{size % 60:02d}" if minutes else f"{sign}{size}"
