"""What may be done with an entry at a moment: pure, with the time and the random number given.

    made          early ...          soft                soft + stale_s            hard
     |---- fresh ----|---- early ------|------ stale --------|------- spare --------|---- gone
     serve             serve, and load   serve, and load      load; serve it if      load
                       in background     in background        that fails

*Trust* is a second limit: entries are dropped by the region's invalidator, and so one is believed for a second after
the invalidator was last heard, or after the entry was made. What is left of fresh, early and stale is spare then.

Early refresh is XFetch: Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB
2015: refresh when ``delta * beta * -ln(random)`` reaches the end. The chance at `left` before it is
``exp(-left / (beta * delta))``. Several readers can draw it (the paper's optimum is not one reader): the lease makes
them one.
"""

import math
from enum import Enum, auto
from random import Random

from atoll.cache.entry import Entry
from atoll.cache.policy import Policy


class Freshness(Enum):
    """What an entry is good for."""

    FRESH = auto()
    EARLY = auto()
    """As good as fresh; but this reader is to load it anew in the background."""
    STALE = auto()
    """May be served while it is loaded anew in the background."""
    SPARE = auto()
    """May be served only if it can't be loaded."""
    GONE = auto()


def judge(entry: Entry, policy: Policy, now_ms: float, trusted_ms: float, chance: Random) -> Freshness:
    """How good an entry is at `now_ms`; it is believed until `trusted_ms`. Both on the entry's own clock."""
    if now_ms >= entry.hard_ms:
        return Freshness.GONE
    left_ms = entry.soft_ms - now_ms
    if now_ms < trusted_ms:
        if left_ms > 0:
            ahead_ms = entry.made_ms + (entry.soft_ms - entry.made_ms) * policy.ahead
            if now_ms >= ahead_ms or left_ms <= early_ms(entry.delta_ms, policy.early, chance):
                return Freshness.EARLY
            return Freshness.FRESH
        if not entry.negative and -left_ms < policy.stale_s * 1000:
            return Freshness.STALE
    # A negative entry is no spare: "there is none" must never stand in for "nobody knows".
    spare = policy.error_s > 0 and not entry.negative and -left_ms < policy.error_s * 1000
    return Freshness.SPARE if spare else Freshness.GONE


def early_ms(delta_ms: float, beta: float, chance: Random) -> float:
    """How long before its end this reader would refresh an entry. Exponential, with mean ``beta * delta``."""
    if beta <= 0 or delta_ms <= 0:
        return -math.inf
    return -beta * delta_ms * math.log(1.0 - chance.random())


def trusted_until_ms(entry: Entry, heard_ms: float | None, trust_s: float, *, behind: bool) -> float:
    """Until when an entry is believed, given when the invalidator was last heard (None: never).

    While the region's replication is `behind` its bound, what the invalidator says is worth nothing.
    """
    since = entry.made_ms if heard_ms is None or behind else max(entry.made_ms, heard_ms)
    return since + trust_s * 1000
