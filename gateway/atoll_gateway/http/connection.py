"""What is known of a client connection, for as long as it lasts."""

from dataclasses import dataclass

from atoll.tls import Certificate

EXTENSION = "atoll.connection"
"""Key in ``scope["extensions"]`` under which every request carries its `Connection`."""


@dataclass(slots=True)
class Connection:
    """One client connection; every request on it gets this same object.

    `trusted` starts false. The peer layer sets it once the far gateway has proved who it is, and it then
    holds for the later requests of this connection and of no other.
    """

    peer: tuple[str, int] | None
    """Address and port of the far end; `None` for a socket that has none."""
    certificate: Certificate | None = None
    """What the far end has shown, if there is TLS. It is of a known authority; whose it is, is for others to see."""
    trusted: bool = False
    memo: object = None
    """For the application: what it wants to know of the next request on this connection."""
