"""The figures of a region's state, as its agent reports them and `atoll status` shows them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeerLag:
    """How far this region is behind another one."""

    connected: bool
    """Whether there is a link to the other region's log now."""
    staleness_s: float | None
    """What the other region acknowledged and is not here yet is not older than this; None: nothing is known."""
    p50_s: float | None
    p99_s: float | None
    """Delays from the other region's heartbeats to their being applied here."""
    behind: int
    """The cursor's distance: operations of the other region that somebody is known to have and that are not here."""


@dataclass(frozen=True, slots=True)
class StrongReport:
    """The region's proposer of strong operations; counters since the agent started."""

    changes: int
    reads: int
    commits: int
    """Attempts that succeeded: several changes may share one."""
    warm_commits: int
    """Of those, in one round trip."""
    ballots: int
    """Attempts, whatever came of them."""
    ballots_per_commit: float | None
    """None before the first commit. More than 1: proposers are in each other's way, or majorities are missing."""
    no_majority: int
    """Attempts that ended without a majority."""


@dataclass(frozen=True, slots=True)
class StateReport:
    """A region's state. Counters of the store run since it was first opened, all others since the agent started."""

    complete: bool
    """The store has all that it should have; False while a store that began empty is brought up to date."""
    peers: Mapping[str, PeerLag]
    """By other region."""
    conflicts: Mapping[str, int]
    """Writes of one cell, neither of whose writers knew the other's; by namespace, counted by the store."""
    log_entries: int
    log_bytes: int
    tombstones: int
    """Not collected yet."""
    digest_mismatches: int
    """Comparisons with a peer that found a difference."""
    resyncs: Mapping[str, int]
    """Transfers that ended well, by why they were needed."""
    resyncs_failed: int
    """Transfers that broke off; they are begun anew."""
    clock_offset_s: float
    """What the other regions' clocks certainly show more than this region's, in the median."""
    writes_refused: str
    """Why the store refuses writes, which is its region's clock; empty if it doesn't."""
    skewed: int
    """Operations that were put off since their stamps were too far ahead of this region's clock; of the store."""
    session_waits: int
    """How often replicas waited for what a session had seen elsewhere, counted by the store."""
    session_waits_behind: int
    """Of those, how many ended without it: the namespace's `behind` said what became of the request."""
    session_waited_s: float
    """All together."""
    strong: StrongReport
