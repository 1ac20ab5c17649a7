"""Values on the command line: how they are read, and what is said of those that can't be."""

import argparse
from collections.abc import Callable

from atoll.topology import units


def duration(most_s: float) -> Callable[[str], float]:
    """Reads ``400ms`` or ``30s``, in seconds; more than zero, and `most_s` at most."""

    def read(text: str) -> float:
        value = _positive(text, units.seconds)
        if value > most_s:
            raise argparse.ArgumentTypeError(f"{text!r}: it may be {most_s:g}s at most")
        return value

    return read


def rate(text: str) -> float:
    """``64KiB`` (a second), in bytes; more than zero."""
    return _positive(text, units.size)


def share(text: str) -> float:
    """A part of a whole: more than zero, and less than one."""
    value = _positive(text, float)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: it must be less than one")
    return value


def positive(text: str) -> float:
    """A number above zero."""
    return _positive(text, float)


def count(text: str) -> int:
    """A whole number from one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _positive(text: str, parse: Callable[[str], float]) -> float:
    try:
        value = parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r}: it must be more than zero")
    return value
