"""Quantities as people write them: durations ``250ms``, sizes ``64KiB``, rates ``50/s``, addresses ``http://host:80``
and ``host:80``.
"""

import re

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|min|h)")
_SIZE = re.compile(r"([0-9]+)(B|KiB|MiB|GiB)")
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)/(s|min|h)")
_ORIGIN = re.compile(
    r"http://((?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?)/?"
)
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])"
_ENDPOINT = re.compile(rf"({_HOST}):([0-9]{{1,5}})")
_SITE = re.compile(rf"https?://{_HOST}(?::[0-9]{{1,5}})?")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def seconds(text: str) -> float:
    """Parses a duration such as ``250ms``, ``1.5s`` or ``2min``. Raises `ValueError` that says what would be right."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("write a duration as a number and a unit, such as '250ms', '10s', '2min' or '24h'")
    return float(match[1]) * _SECONDS[match[2]]


def size(text: str) -> int:
    """Parses a size such as ``64KiB`` or ``10MiB``, in bytes. Raises `ValueError` that says what would be right."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("write a size as a whole number and a unit, such as '512B', '64KiB' or '10MiB'")
    return int(match[1]) * _BYTES[match[2]]


def rate(text: str) -> float:
    """Parses a rate such as ``50/s`` or ``600/min``, in events a second. Raises `ValueError` that says what would be
    right.
    """
    match = _RATE.fullmatch(text)
    if match is None or float(match[1]) <= 0:
        raise ValueError("write a rate as a number above zero and a unit, such as '50/s' or '600/min'")
    return float(match[1]) / _SECONDS[match[2]]


def origin(text: str) -> str:
    """Parses an origin's address such as ``http://10.0.0.7:8000`` into ``host:port``, with port 80 if none is named.

    Raises `ValueError` that says what would be right.
    """
    match = _ORIGIN.fullmatch(text)
    if match is None:
        raise ValueError(
            "write an origin as 'http://host:port', without a path; TLS is not spoken to origins"
        )
    host, _, port = match[1].rpartition(":")
    if not host or (match[1].startswith("[") and not host.endswith("]")):
        return f"{match[1]}:80"
    if not 0 < int(port) < 65536:
        raise ValueError(f"a port is a number from 1 to 65535, not {port}")
    return match[1]


def endpoint(text: str) -> str:
    """Checks a TCP address such as ``agent.eu-west.atoll.internal:8444``. Raises `ValueError` that says what would be
    right.
    """
    match = _ENDPOINT.fullmatch(text)
    if match is None or not 0 < int(match[2]) < 65536:
        raise ValueError("write an address as 'host:port', with a port from 1 to 65535 and no scheme")
    return text


def site(text: str) -> str:
    """Checks where clients find something, such as ``https://eu-west.shop.example.com``. Raises `ValueError` that says
    what would be right.
    """
    if _SITE.fullmatch(text) is None:
        raise ValueError("write a public address as 'https://host' or 'https://host:port', without a path")
    return text
