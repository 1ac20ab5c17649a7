"""What keeps a fault small, a file a subject.

    deadline     how long a request may still take
    criticality  how much it matters when not all can be served
    replay       what may be sent again
    attempts     the attempts of one request; the only file here that runs on an event loop, with `hedge`
    hedge        further attempts against a slow one
    tried        where a request has been
    pace         whether a region has become slower than others
    budget       how many further attempts all requests may have together
    quantile     how long attempts take
    breaker      whether a region is asked at all
    outlier      which single hosts are left out
    balance      which of the others gets a request
    window       how many of the latest outcomes were failures
    bulkhead     how many requests may be under way
    gradient     how many is right
    lane         breaker, bulkhead and limit of one (region, service) together
    ratelimit    how many a client may send
    idempotency  what a key stands for
    health       whether a peer is believed in
    backoff      how long to wait before trying again

Every class is a plain core: it takes a clock and a random source and does no I/O of its own. What is exported here is
cheap to import; the rest is imported from its file.
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
