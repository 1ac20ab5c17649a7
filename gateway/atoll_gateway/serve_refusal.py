"""Answers by which a replica says that it did not execute a request; only their text tells them apart.

They are Ray Serve's own (Ray 2.60), and that of Atoll's middleware in the replica.
"""

from enum import Enum

from atoll.calls import ASK_ELSEWHERE
from atoll_gateway.message import Response

_STRAY_START, _STRAY_PART = b"Path '", b"Ping http://.../-/routes"
_FULL = b"Request dropped due to backpressure"


class ServeRefusal(Enum):
    """Why a replica did not execute a request."""

    FULL = "full"
    """As many requests wait there as may."""
    STRAY = "stray"
    """The replica belongs to another service: the table is old, and the port has found another owner."""
    BEHIND = "behind"
    """The region has not caught up with the client's session; its namespace wants another one to be asked."""


def serve_refusal(response: Response) -> ServeRefusal | None:
    """What a replica's answer says about why it did nothing; None if it did something, as far as one can tell."""
    body = response.body
    if response.status not in {404, 503} or not isinstance(body, bytes):
        return None
    if response.status == 503:
        if body.startswith(ASK_ELSEWHERE):
            return ServeRefusal.BEHIND
        return ServeRefusal.FULL if body.startswith(_FULL) else None
    return ServeRefusal.STRAY if body.startswith(_STRAY_START) and _STRAY_PART in body else None
