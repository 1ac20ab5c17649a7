"""Durations and sizes as people write them: ``250ms``, ``10s``, ``64KiB``."""

import re

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|min)")
_SIZE = re.compile(r"([0-9]+)(B|KiB|MiB|GiB)")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0}
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def seconds(text: str) -> float:
    """Parses a duration such as ``250ms``, ``1.5s`` or ``2min``. Raises `ValueError` that says what would be right."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("write a duration as a number and a unit, such as '250ms', '10s' or '2min'")
    return float(match[1]) * _SECONDS[match[2]]


def size(text: str) -> int:
    """Parses a size such as ``64KiB`` or ``10MiB``, in bytes. Raises `ValueError` that says what would be right."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("write a size as a whole number and a unit, such as '512B', '64KiB' or '10MiB'")
    return int(match[1]) * _BYTES[match[2]]
