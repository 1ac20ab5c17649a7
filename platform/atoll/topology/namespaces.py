"""What a topology says of a namespace: which guarantee it gives, and where its data may be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

ACCEPTORS = 3
"""A strong namespace has this many if it doesn't name them: the fewest of which one may fail."""


class Level(StrEnum):
    """The consistency of a namespace."""

    EVENTUAL = "eventual"
    """Reads and writes are local; replicas converge by merging."""
    SESSION = "session"
    """The same, and a client reads what it wrote and never goes back in time, in whichever region it is served."""
    STRONG = "strong"
    """Linearizable registers."""


class DataType(StrEnum):
    """What a namespace holds under a key."""

    REGISTER = "register"
    MAP = "map"
    COUNTER = "counter"
    SET = "set"


class Durability(StrEnum):
    """What an acknowledged write survives."""

    REGION = "region"
    """Synced to disk in the own region: a crash."""
    REMOTE = "remote"
    """Also in one more region: the loss of any one."""
    MAJORITY = "majority"
    """On a majority of acceptors: the loss of any minority."""


class Behind(StrEnum):
    """What a read does in a region that is still behind the reader's session after the bounded wait."""

    ELSEWHERE = "elsewhere"
    """Asks a region that is not behind."""
    REFUSE = "refuse"
    MARK = "mark"
    """Answers, and says that the answer is stale."""


class Backend(StrEnum):
    """What keeps strong registers."""

    REGISTERS = "registers"
    """CASPaxos over the state stores."""
    ETCD = "etcd"
    """An etcd that somebody else runs."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A named part of the state with one consistency level."""

    name: str
    level: Level
    types: tuple[DataType, ...]
    """What it may hold, in the order of `DataType`."""
    residency: frozenset[str]
    """Zones whose regions may hold its data; all zones if the file names none."""
    durability: Durability
    behind: Behind | None = None
    """For `session`; None for the other levels."""
    max_staleness_s: float | None = None
    """A read of data that may be older counts as behind; None sets no bound. Never for `strong`."""
    backend: Backend | None = None
    """For `strong`; None for the other levels."""
    acceptors: tuple[str, ...] = ()
    """Regions that the registers of a `strong` namespace begin with, 3 or 5, or are to move to; a register of their own
    says who they are. A deployment of a topology's first regions alone may lack some: they count as down."""
    etcd: tuple[str, ...] = ()
    """``host:port`` of the etcd's members, for that backend."""


def nearest(regions: Sequence[str], rtt_ms: Mapping[frozenset[str], float]) -> tuple[str, ...]:
    """The `ACCEPTORS` of `regions` whose round-trip times to each other have the smallest sum, in alphabetical order.

    Ties go to the alphabet, so the order of the arguments has no say. Empty if there are too few regions.
    """

    def total(chosen: tuple[str, ...]) -> float:
        return sum(rtt_ms[frozenset(pair)] for pair in combinations(chosen, 2))

    return min(combinations(sorted(regions), ACCEPTORS), key=total, default=())
