"""Finds the highest rate that holds: by steps upwards until one does not, then by halving what is left. Sans-I/O.

    rate = search.next_rate()      until that is None
    search.saw(rate, judgement)

One measurement is chance as well. So a rate is given up only when two measurements have found it broken, and the rate
that is found in the end has held twice: one more measurement decides where two disagree.
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum

from loadtests.capacity.objectives import Judgement

GROWTH = 1.5
RESOLUTION = 0.1
LOWEST = 0.05
"""Part of the first rate below which nothing is looked for."""
TWICE = 2


class Bound(StrEnum):
    """What keeps the rate from being higher."""

    OBJECTIVES = "objectives"
    MACHINE = "machine"
    """The machine was at its end before Atoll: capacity is at least what was found."""
    ASKED = "asked"
    """It held at the highest rate that was asked for."""
    NOTHING = "nothing"
    """No rate held."""


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search."""

    rate: float | None
    """The highest that held, in requests a second; None if none did."""
    bound: Bound
    refuted: float | None
    """The lowest above it that did not; None if none was tried."""


@dataclass(slots=True)
class _Tally:
    judgements: list[Judgement] = field(default_factory=list)

    @property
    def held(self) -> int:
        return self.judgements.count(Judgement.HELD)

    @property
    def broken(self) -> int:
        return len(self.judgements) - self.held

    @property
    def carries(self) -> bool | None:
        """None: it has to be measured again."""
        if self.broken >= TWICE:
            return False
        return True if self.held > self.broken else None


class Search:
    """One search. Rates are in requests a second."""

    def __init__(
        self, start: float, most: float, *, growth: float = GROWTH, resolution: float = RESOLUTION
    ) -> None:
        """Begins at `start`, and asks for no more than `most`. Ends when what held and what did not are less than
        `resolution` apart, as a part of the former. Raises `ValueError` for rates that make no sense.
        """
        if not 0.0 < start <= most or growth <= 1.0 or resolution <= 0.0:
            raise ValueError(f"a search begins above zero and ends above its start, not {start} and {most}")
        self._start = start
        self._most = most
        self._growth = growth
        self._resolution = resolution
        self._tallies: dict[float, _Tally] = {}

    def next_rate(self) -> float | None:
        """What to measure next; None when the search is over."""
        for rate, tally in self._tallies.items():
            if tally.carries is None:
                return rate
        good, bad = self._good(), self._bad()
        if bad is None:
            above = self._start if good is None else min(self._most, good * self._growth)
            return above if above != good else self._confirm(good)
        if good is None:
            below = bad / self._growth
            return below if below >= LOWEST * self._start else None
        if bad / good > 1.0 + self._resolution:
            return math.sqrt(good * bad)
        return self._confirm(good)

    def saw(self, rate: float, judgement: Judgement) -> None:
        """What a measurement at a rate, as `next_rate` gave it, was found to be."""
        self._tallies.setdefault(rate, _Tally()).judgements.append(judgement)

    def found(self) -> Found:
        """The result as far as it is known."""
        good, bad = self._good(), self._bad()
        if bad is None:
            return Found(good, Bound.NOTHING if good is None else Bound.ASKED, None)
        # Where objectives broke with room on the machine, they are the limit, whatever else was seen there.
        machine = Judgement.BROKEN not in self._tallies[bad].judgements
        if good is None and not machine:
            return Found(None, Bound.NOTHING, bad)
        return Found(good, Bound.MACHINE if machine else Bound.OBJECTIVES, bad)

    def _confirm(self, good: float | None) -> float | None:
        if good is not None and self._tallies[good].held < TWICE:
            return good
        return None

    def _bad(self) -> float | None:
        """The lowest rate that is given up."""
        return min((rate for rate, tally in self._tallies.items() if tally.carries is False), default=None)

    def _good(self) -> float | None:
        """The highest rate that held, below all that are given up."""
        bad = self._bad()
        return max(
            (rate for rate, tally in self._tallies.items() if tally.carries and (bad is None or rate < bad)),
            default=None,
        )
