"""Times and limits of replication; the defaults are what a deployment runs with."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplicationSettings:
    """One region's. Seconds, unless a name says otherwise."""

    heartbeat_s: float = 0.25
    """A region says its vector in its own log this often; staleness is published this finely."""
    ping_s: float = 1.0
    """Clocks are compared, and a quiet connection is proved alive, this often."""
    silence_s: float = 3.0
    """A connection over which nothing came for so long is taken to be dead, and opened anew."""
    question_s: float = 10.0
    """A peer's answer to one question of a transfer is waited for so long."""
    reconnect_s: float = 0.1
    """Pause before a broken connection is opened again; doubles up to `reconnect_most_s`, with jitter."""
    reconnect_most_s: float = 1.0
    credits: int = 64
    """Batches that may be on their way over one connection. Under light load each write is a batch of its own: with a
    round trip of 250 ms this many carry 250 writes a second before one of them has to wait for an acknowledgement."""
    batch_entries: int = 200
    """A store's script blocks it, so a batch stays short: some 10 ms to apply."""
    batch_bytes: int = 64 * 1024
    """With all credits used, 4 MiB are on their way or queued."""
    ahead_s: float = 2.0
    """A peer may know more of an actor than we for so long, without our moving, before we fetch it from the peer."""
    patience_s: float = 0.5
    """A transfer lets streams that still move catch up with the peer's vector for so long before it holds them."""
    verify_s: float = 60.0
    """Digests are compared with each peer this often, and soon after each connection and transfer."""
    transfer_rest: float = 1.0
    """After a transfer because a peer was ahead or differed, the next one of the kind waits this many times what it
    took: where a link is cut and a third region has what we miss, transfers take half of the time."""
    collect_s: float = 1.0
    """Stable tombstones are collected, and the log is trimmed, this often."""
    collect_limit: int = 1000
    fence_s: float = 24 * 3600.0
    """A member that was silent for so long no longer keeps tombstones and log from being dropped. When it comes back
    it must transfer before it is heard."""
    log_entries: int = 1_000_000
    """The own log is cut to this length even if a member has not read it: that member will transfer."""
    log_keep: int = 1000
    """So many entries stay in the log although everybody has them: a short way back costs less than a transfer."""
    clock_limit_ms: float = 250.0
    """A region whose clock is further from the median of all refuses to write. Half of what receivers tolerate
    (`stamp.FUTURE_MS`), so that two good clocks at the limit's two ends still take each other's writes in."""


DEFAULTS = ReplicationSettings()
