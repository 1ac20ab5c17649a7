"""The data types that a key can have."""

from enum import StrEnum


class Kind(StrEnum):
    """Its value is the letter in store keys and in the log."""

    REGISTER = "r"
    """One value; the last writer wins. One cell, whose field is empty."""
    MAP = "m"
    """Fields with a value each; the last writer of a field wins. A cell a field."""
    COUNTER = "c"
    """A sum of increments and decrements. A cell an actor."""
    SET = "s"
    """Elements; an addition wins over a removal that has not seen it. A cell an element."""
