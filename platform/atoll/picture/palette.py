"""Colours that stay apart for nearly everybody, whatever colours they see, on light and on dark ground."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Colour:
    """A fill, and the colour of words that can be read on it."""

    fill: str
    ink: str


SERIES = (
    Colour("#0072b2", "#ffffff"),
    Colour("#e69f00", "#101214"),
    Colour("#56b4e9", "#101214"),
    Colour("#d55e00", "#101214"),
    Colour("#009e73", "#101214"),
    Colour("#cc79a7", "#101214"),
    Colour("#f0e442", "#101214"),
    Colour("#8c8c8c", "#101214"),
    Colour("#7a4fb5", "#ffffff"),
    Colour("#b5d99c", "#101214"),
)
"""For things without an order. The first seven: Okabe and Ito, "Color Universal Design", 2008; neighbours differ in
lightness."""

FAILURES = (
    Colour("#c4302b", "#ffffff"),
    Colour("#f59e42", "#101214"),
    Colour("#8e3b8a", "#ffffff"),
    Colour("#f2c14e", "#101214"),
    Colour("#6d5acf", "#ffffff"),
    Colour("#d98880", "#101214"),
    Colour("#b9bec6", "#101214"),
)
"""For what went wrong: warm, light and dark in turn; the last is for all others together."""


def series(number: int) -> Colour:
    """The colour of the thing with this number; from the eleventh on they come again."""
    return SERIES[number % len(SERIES)]
