"""What keeps a fault small: health of peers, deadlines, what may be sent again, backoff.

Every class here is a plain core: it takes a clock and a random source and does no I/O.
"""

from atoll.resilience.backoff import Backoff
from atoll.resilience.deadline import Deadline, parse_deadline_ms, parse_timeout
from atoll.resilience.health import HealthState, HealthStatistics, PeerHealth
from atoll.resilience.replay import Replay, replay

__all__ = [
    "Backoff",
    "Deadline",
    "HealthState",
    "HealthStatistics",
    "PeerHealth",
    "Replay",
    "parse_deadline_ms",
    "parse_timeout",
    "replay",
]
