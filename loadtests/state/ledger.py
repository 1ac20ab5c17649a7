"""What clients asked for and what they were told: what the verdict is checked against."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from atoll.simulate.strong.history import Event
from atoll.state.kind import Kind
from atoll.state.vector import NOTHING, Dot, Vector


class Outcome(StrEnum):
    """What a client was told of a write."""

    ACKED = "acked"
    """Done, and as durable as its namespace promises."""
    HERE = "here"
    """On disk in its region, but no other one confirmed it in time (`NotRemote`)."""
    UNKNOWN = "unknown"
    """No answer: perhaps done, perhaps later."""
    REFUSED = "refused"
    """Certainly not done."""


class Place(NamedTuple):
    """Where something is: a register, a field of a map, an element of a set, or a counter."""

    namespace: str
    kind: Kind
    key: str
    part: str = ""
    """Field or element."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write to one place; each place has one writer at a time, who leaves it alone after an unknown outcome."""

    place: Place
    value: int | None
    """Written, or added to a counter; of an element 1; None removes."""
    outcome: Outcome
    dot: Dot | None = None
    """Its number, if the store gave it one."""


@dataclass(frozen=True, slots=True)
class Backwards:
    """A read that showed something older than its session allows."""

    guarantee: str
    place: Place
    region: str
    found: int | None
    wanted: int
    at: float = 0.0
    """Monotonic."""
    needs: Vector = NOTHING
    """What the client's token named when it asked."""
    known: Vector = NOTHING
    """What the region knew right after."""


@dataclass(frozen=True, slots=True)
class Sale:
    """An attempt to buy one postcard."""

    sku: str
    outcome: Outcome


@dataclass(slots=True)
class Ledger:
    """Of one run."""

    namespaces: tuple[str, ...] = ()
    closed: bool = False
    """Clients end what they are at, note it, and begin nothing more."""
    writes: dict[Place, list[Write]] = field(default_factory=lambda: defaultdict(list))
    """Of each place, in the order in which they were asked for."""
    outcomes: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    """By namespace; those of strong registers too."""
    backwards: list[Backwards] = field(default_factory=list)
    checks: Counter[str] = field(default_factory=Counter)
    """Reads that were held against a guarantee of sessions."""
    events: list[Event] = field(default_factory=list)
    """On strong registers."""
    stocked: dict[str, int] = field(default_factory=dict)
    """Postcards that there were of each kind."""
    sales: list[Sale] = field(default_factory=list)

    def note(self, write: Write) -> None:
        self.outcomes[write.place.namespace, write.outcome] += 1
        if write.outcome is not Outcome.REFUSED:
            self.writes[write.place].append(write)

    @property
    def slowest(self) -> int:
        """Writes acknowledged in the namespace that has the fewest."""
        return min(map(self.acked, self.namespaces), default=0)

    def acked(self, namespace: str) -> int:
        return self.outcomes[namespace, Outcome.ACKED]
