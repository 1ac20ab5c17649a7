"""One run: regions, clients and faults on a virtual clock."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from random import Random

from atoll.simulate.loop import VirtualLoop, run
from atoll.simulate.state import invariants
from atoll.simulate.state.clients import client
from atoll.simulate.state.faults import Faults
from atoll.simulate.state.invariants import Invariant, Violation
from atoll.simulate.state.ledger import Ledger
from atoll.simulate.state.network import Path
from atoll.simulate.state.parts import PRODUCTION, Parts
from atoll.simulate.state.region import Region
from atoll.simulate.state.scenario import DISK, FaultKind, Scenario

EQUAL_S = 5.0
"""Replicas are equal this soon after everything has healed."""

FILLED_S = 3.0
"""A region that must transfer from every peer, one after the other, may take so much longer: a lost or old disk, a new
member, one that was fenced."""

LOOK_S = 0.5
"""Invariants are checked this often."""

MOST = 5
"""Violations of a run that are told."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    violations: tuple[Violation, ...]
    writes: int
    acknowledged: int
    equal_after_s: float
    """Since healing."""
    counts: dict[str, int]
    """What stores and replication did: transfers, gaps, futures, ..."""


def simulate(scenario: Scenario, seed: int, parts: Parts = PRODUCTION) -> Outcome:
    """Runs a scenario. The same arguments give the same outcome."""
    loop = VirtualLoop()
    world = World(loop, scenario, seed, parts)
    return run(loop, world.main())


class World:
    """Everything of a run."""

    def __init__(self, loop: VirtualLoop, scenario: Scenario, seed: int, parts: Parts) -> None:
        self._loop = loop
        self._scenario = scenario
        self._seed = seed
        self._ledger = Ledger()
        self._found: list[Violation] = []
        self._stopped: Counter[str] = Counter()
        self._regions = {
            name: Region(
                name,
                scenario,
                parts,
                loop.clock,
                self._ledger,
                Random(f"{seed} {name}"),
                self._leaked,
            )
            for name in scenario.regions
        }
        for a, here in self._regions.items():
            here.regions = self._regions
            for b in self._regions:
                if a != b:
                    rtt_s = scenario.rtt_s[frozenset((a, b))]
                    here.paths[b] = Path(rtt_s / 2, Random(f"{seed} {a} {b}"))
        self._faults = Faults(loop, scenario, self._regions, self._ledger, Random(f"{seed} faults"))

    async def main(self) -> Outcome:
        scenario = self._scenario
        for name in scenario.founders:
            self._regions[name].start_agent()
        self._faults.schedule()
        clients = [
            self._loop.create_task(client(region, Random(f"{self._seed} client {name}"), scenario.heal_s))
            for name, region in self._regions.items()
        ]
        while self._loop.time() < scenario.heal_s:
            await asyncio.sleep(LOOK_S)
            self._look()
        equal_after_s = await self._equal()
        for task in clients:
            task.cancel()
        self._at_the_end()
        for region in self._regions.values():
            for path in region.paths.values():
                path.over = True
        written = list(self._ledger.all())
        return Outcome(
            violations=tuple(self._found[:MOST]),
            writes=len(written),
            acknowledged=sum(one.acknowledged_s is not None for one in written),
            equal_after_s=equal_after_s,
            counts=self._counts(),
        )

    def _members(self) -> list[Region]:
        return [self._regions[name] for name in self._faults.members]

    def _look(self) -> None:
        latest_ms = invariants.latest_ms(list(self._regions.values()))
        for region in self._members():
            if region.replicator is not None:
                self._ledger.fenced |= region.replicator.fenced()
        for region in self._members():
            if region.store_up:
                self._found += invariants.known(region, self._ledger, latest_ms)
                self._found += invariants.stale(region, self._regions, self._ledger)

    async def _equal(self) -> float:
        """Waits until replicas are equal and complete; stamps that are ahead of true time may come that much later."""
        begin = self._scenario.heal_s
        limit = begin + EQUAL_S + invariants.ahead_s(self._members())
        filled = any(fault.kind in DISK or fault.kind is FaultKind.ADD for fault in self._scenario.faults)
        if filled or self._ledger.fenced:
            limit += FILLED_S
        while True:
            await asyncio.sleep(LOOK_S / 2)
            self._look()
            detail = invariants.different(self._members()) or self._incomplete()
            if not detail and self._quiet():
                return self._loop.time() - begin
            if self._loop.time() > limit:
                self._found.append(Violation(Invariant.EQUAL, self._loop.time(), detail or "vectors differ"))
                return self._loop.time() - begin

    def _incomplete(self) -> str:
        for region in self._members():
            if not region.model.statistics().complete:
                return f"{region.name} is not complete"
        return ""

    def _quiet(self) -> bool:
        """Whether all that must survive is known everywhere."""
        latest_ms = invariants.latest_ms(self._members())
        return not any(invariants.survives(self._members(), self._ledger, latest_ms))

    def _at_the_end(self) -> None:
        latest_ms = invariants.latest_ms(list(self._regions.values()))
        for region in self._members():
            self._found += invariants.known(region, self._ledger, latest_ms)
        self._found += invariants.survives(self._members(), self._ledger, latest_ms)
        self._found += invariants.recorded(self._ledger)
        for region in self._regions.values():
            self._found += invariants.resident(region)

    def _leaked(self, detail: str) -> None:
        invariant = Invariant.RUNS if "ended with" in detail else Invariant.RESIDENCY
        self._found.append(Violation(invariant, self._loop.time(), detail))

    def _counts(self) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for region in self._members():
            found = region.model.statistics()
            for name in ("gaps", "futures", "waits", "merged", "settled", "collected", "expired"):
                counts[name] += getattr(found, name)
            if region.replicator is not None:
                watch = region.replicator.statistics().watch
                counts.update({f"transfer-{reason}": number for reason, number in watch.transfers.items()})
                counts["transfer-failed"] += watch.failed
                counts["mismatches"] += watch.mismatches
        return dict(counts)
