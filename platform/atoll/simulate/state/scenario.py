"""What a run is about: regions, who may hold what, how much is written, which faults come when. Drawn from a seed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random

from atoll.state.replication import Membership, ReplicationSettings

ZONES = ("eu", "us", "apac")
LENGTHS = ((3, 40), (4, 30), (5, 18), (6, 8), (7, 4))
"""Numbers of regions, with weights: most faults show with three."""


class FaultKind(StrEnum):
    """What can go wrong. Everything heals at the end of the fault, or at `Scenario.heal_s` at the latest."""

    CUT = "cut"
    """A link carries nothing; what is on its way waits."""
    CUT_ONE_WAY = "cut-one-way"
    ISOLATE = "isolate"
    """All links of a region."""
    SLOW = "slow"
    """A link takes longer."""
    HALF_OPEN = "half-open"
    """The connections of a link swallow everything from now on, and nobody is told."""
    FREEZE = "freeze"
    """A region's agent and store stand still, as by SIGSTOP."""
    AGENT_KILL = "agent-kill"
    STORE_KILL = "store-kill"
    LOST_TAIL = "lost-tail"
    """The store comes back without its newest commands."""
    OLD_DISK = "old-disk"
    """The store comes back with the disk that it had at the fault's beginning."""
    WIPE = "wipe"
    """The store comes back with nothing."""
    TRIM = "trim"
    """The log is cut beyond what peers have read, as after growing too long."""
    SKEW = "skew"
    """A region's clock is off until the fault's end."""
    JUMPS = "jumps"
    """A region's clock jumps to and fro."""
    ADD = "add"
    """A member is added."""
    REMOVE = "remove"
    """A member is removed, once it was drained."""


DISK = frozenset({FaultKind.LOST_TAIL, FaultKind.OLD_DISK, FaultKind.WIPE})
"""Faults after which a region's disk holds less than it acknowledged."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    kind: FaultKind
    region: str
    at_s: float
    until_s: float
    other: str = ""
    amount: float = 0.0
    """Seconds of a clock or of latency; commands of a lost tail."""

    def __str__(self) -> str:
        link = f"-{self.other}" if self.other else ""
        amount = f" {self.amount:.2f}" if self.amount else ""
        return f"{self.kind} {self.region}{link}{amount} at {self.at_s:.2f}-{self.until_s:.2f} s"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run."""

    regions: tuple[str, ...]
    holds: Mapping[str, frozenset[str]]
    """By region, the namespaces that it may hold."""
    remote: frozenset[str]
    """Namespaces whose durability is `remote`; the others' is `region`."""
    rtt_s: Mapping[frozenset[str], float]
    faults: tuple[Fault, ...]
    settings: ReplicationSettings
    writes_per_s: float
    """In each region."""
    heal_s: float = 7.0
    """All faults have ended by then; clients stop a moment later."""
    skews: Mapping[str, float] = field(default_factory=dict)
    """Seconds that clocks are off from the beginning; within what is tolerated."""
    embedded: bool = False
    """Stores are opened by wardens, as soon as they are up; else by the agents."""

    @property
    def founders(self) -> tuple[str, ...]:
        """Those that are members from the beginning."""
        added = {fault.region for fault in self.faults if fault.kind is FaultKind.ADD}
        return tuple(region for region in self.regions if region not in added)

    def membership(self, regions: tuple[str, ...]) -> Membership:
        return Membership({region: self.holds[region] for region in regions})


def generate(seed: int, *, most: int = 7, heal_s: float = 7.0) -> Scenario:
    """The scenario of a seed: always the same. `most`: no more regions; `heal_s`: no longer faults."""
    chance = Random(f"state {seed}")
    count = chance.choices([one for one, _ in LENGTHS], [weight for _, weight in LENGTHS])[0]
    count = min(count, most)
    regions = tuple(f"r{number}" for number in range(1, count + 1))
    zones = {region: chance.choice(ZONES[: chance.choice((1, 2, 3))]) for region in regions}
    used = sorted(set(zones.values()))
    confined = len(used) > 1 or chance.random() < 0.3
    holds = {
        region: frozenset({"world", "news", f"only-{zones[region]}"} if confined else {"world", "news"})
        for region in regions
    }
    if len(used) > 1 and chance.random() < 0.3:
        pair = f"{used[0]}+{used[1]}"
        holds = {
            region: names | {pair} if zones[region] in used[:2] else names for region, names in holds.items()
        }
    rtt_s = {
        frozenset((a, b)): chance.choice((0.01, 0.04, 0.09, 0.15, 0.25))
        for place, a in enumerate(regions)
        for b in regions[place + 1 :]
    }
    settings = ReplicationSettings(
        verify_s=4.0,
        collect_s=0.4,
        log_keep=chance.choice((0, 10, 1000)),
        log_entries=chance.choice((30, 100, 100_000, 100_000)),
        batch_entries=chance.choice((5, 20, 200)),
        credits=chance.choice((2, 4, 16)),
        fence_s=chance.choice((3600.0, 3600.0, 4.0)),
        question_s=2.0,
    )
    made = Scenario(
        regions=regions,
        holds=holds,
        remote=frozenset({"world"}),
        rtt_s=rtt_s,
        faults=_faults(regions, heal_s, chance),
        settings=settings,
        writes_per_s=chance.choice((2.0, 5.0, 10.0)),
        heal_s=heal_s,
        skews={region: chance.uniform(-0.1, 0.1) for region in regions},
    )
    if chance.random() < 0.5:
        return replace(
            made, embedded=True, faults=tuple(_perhaps_short(fault, chance) for fault in made.faults)
        )
    return made


def _perhaps_short(fault: Fault, chance: Random) -> Fault:
    """A store may be back before anybody has noticed."""
    if fault.kind not in {*DISK, FaultKind.STORE_KILL} or chance.random() < 0.5:
        return fault
    return replace(fault, until_s=fault.at_s + 0.001)


def _faults(regions: tuple[str, ...], heal_s: float, chance: Random) -> tuple[Fault, ...]:
    faults: list[Fault] = []
    changes = 0
    for _ in range(chance.choice((1, 1, 2, 2, 3, 4))):
        kind = chance.choice(list(FaultKind))
        region = chance.choice(regions)
        at_s = chance.uniform(0.5, heal_s - 1.5)
        # A store that has to be filled again takes longer than a link that was cut.
        latest_s = heal_s - (1.2 if kind in DISK else 0.2)
        until_s = min(latest_s, at_s + chance.choice((0.3, 1.0, 3.0, 5.0)))
        other, amount = "", 0.0
        if kind in {FaultKind.CUT, FaultKind.CUT_ONE_WAY, FaultKind.SLOW, FaultKind.HALF_OPEN}:
            other = chance.choice([one for one in regions if one != region])
        if kind is FaultKind.SLOW:
            amount = chance.choice((0.1, 0.5))
        if kind is FaultKind.LOST_TAIL:
            amount = float(chance.choice((1, 5, 30)))
        if kind is FaultKind.SKEW:
            amount = chance.choice((-3600.0, -5.0, -1.0, -0.3, 0.3, 0.7, 1.5))
        if kind is FaultKind.JUMPS:
            amount = chance.choice((0.3, 0.7, 1.5))
        if kind in {FaultKind.ADD, FaultKind.REMOVE}:
            if changes or len(regions) < 4:
                continue
            changes += 1
            region = regions[-1]
        faults.append(Fault(kind, region, at_s, until_s, other, amount))
    return tuple(sorted(faults, key=lambda fault: fault.at_s))
