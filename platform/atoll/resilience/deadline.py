"""How long a request may still take, and the two headers that say so."""

import re

from atoll.clock import Clock

_TIMEOUT = re.compile(rb"([1-9][0-9]*)(ms|s)")
_MILLISECONDS = re.compile(rb"0|[1-9][0-9]*")
_MOST_DIGITS = 12
"""Longer numbers are over 30 years in milliseconds; none is converted, since the cap is far below."""


class Deadline:
    """A moment on this process's clock. Between processes only what is left of it travels: clocks differ."""

    __slots__ = ("_clock", "at", "seconds")

    def __init__(self, clock: Clock, seconds: float) -> None:
        """A deadline `seconds` from now."""
        self.seconds = seconds
        """What it was at the beginning."""
        self.at = clock.monotonic() + seconds
        """When it is, on the clock's monotonic time."""
        self._clock = clock

    @property
    def remaining_s(self) -> float:
        """What is left in seconds, never below zero."""
        left = self.at - self._clock.monotonic()
        return left if left > 0.0 else 0.0  # noqa: FURB136  max() takes thrice as long

    @property
    def remaining_ms(self) -> int:
        """What is left in whole milliseconds, rounded down: nobody downstream believes in more."""
        return int(self.remaining_s * 1000.0)

    @property
    def expired(self) -> bool:
        return self._clock.monotonic() >= self.at


def parse_timeout(value: bytes, cap_s: float) -> float:
    """Reads an ``Atoll-Timeout`` header (``250ms``, ``2s``) as seconds, at most `cap_s`, the service's limit.

    Raises `ValueError` that says what would be right.
    """
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise ValueError("Atoll-Timeout is a whole number from 1 and a unit, such as 250ms or 2s")
    number, unit = match.groups()
    if len(number) > _MOST_DIGITS:
        return cap_s
    return min(cap_s, int(number) / 1000.0 if unit == b"ms" else float(int(number)))


def parse_deadline_ms(value: bytes, cap_s: float) -> float:
    """Reads an ``Atoll-Deadline-Ms`` header as seconds, at most `cap_s`; zero means that it has expired.

    Raises `ValueError` that says what would be right.
    """
    if _MILLISECONDS.fullmatch(value) is None:
        raise ValueError("Atoll-Deadline-Ms is a whole number of milliseconds, such as 1500")
    if len(value) > _MOST_DIGITS:
        return cap_s
    return min(cap_s, int(value) / 1000.0)
