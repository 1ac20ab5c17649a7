"""What one client may ask of the gateway, and how long it may take over it."""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one listener. Sizes are in bytes, times in seconds.

    The times are watched by one coarse sweep of the server, so each of them is kept to within half a second,
    never cut short.
    """

    header_bytes: int = 16 * 1024
    """Request line and fields together; more is answered 431 (or 414 if the target alone is too long)."""
    header_count: int = 100
    target_bytes: int = 8 * 1024
    body_bytes: int | None = 10 * 1024 * 1024
    """Decoded length of a request body; `None` takes any length. More is answered 413."""
    header_timeout_s: float = 10.0
    """From the first byte of a request (or from the connect) to the end of its head."""
    body_timeout_s: float = 30.0
    """Longest silence within a request body, while the application is ready to take more of it."""
    keep_alive_s: float = 75.0
    write_timeout_s: float = 60.0
    """Longest time that a client may leave a full send buffer untouched; then the connection is reset."""
    tunnel_idle_s: float | None = 3600.0
    """Longest silence in both directions of a WebSocket connection; `None` for any. HAProxy's manual suggests an
    hour (``timeout tunnel``).
    """
    max_age_s: float = inf
    """A connection that is older carries the response to one more request, which says so, and no further one."""
    max_connections: int = 4096
    """Open connections; one more is answered 503."""
