"""Thousands of seeds, on all processors.

python -m atoll.simulate.state 0 5000
"""

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass

from atoll.simulate.state.parts import PRODUCTION, Parts
from atoll.simulate.state.scenario import Scenario, generate
from atoll.simulate.state.world import simulate

CHUNK = 8
"""Seeds that a process takes at a time."""


@dataclass(frozen=True, slots=True)
class SeedResult:
    """What came of one seed."""

    seed: int
    regions: int
    faults: tuple[str, ...]
    violations: tuple[str, ...]
    writes: int
    acknowledged: int
    equal_after_s: float
    counts: dict[str, int]

    def __str__(self) -> str:
        found = "\n  ".join(self.violations) or "nothing found"
        return f"seed {self.seed}: {self.regions} regions; {', '.join(self.faults)}\n  {found}"


def run_seed(seed: int, parts: Parts = PRODUCTION) -> SeedResult:
    """Draws the scenario of a seed, and runs it. What the simulated code raises is a finding like others."""
    return run_scenario(generate(seed), seed, parts)


def run_scenario(scenario: Scenario, seed: int, parts: Parts = PRODUCTION) -> SeedResult:
    """Runs one scenario."""
    faults = tuple(map(str, scenario.faults))
    try:
        outcome = simulate(scenario, seed, parts)
    except Exception as error:  # noqa: BLE001  one broken run must not hide what the others show
        raised = f"nothing raises what nobody expects: {type(error).__name__}: {error}"
        return SeedResult(seed, len(scenario.regions), faults, (raised,), 0, 0, 0.0, {})
    return SeedResult(
        seed,
        len(scenario.regions),
        faults,
        tuple(map(str, outcome.violations)),
        outcome.writes,
        outcome.acknowledged,
        outcome.equal_after_s,
        outcome.counts,
    )


def run_seeds(seeds: range, processes: int | None = None) -> Iterator[SeedResult]:
    """The results of many seeds, as they come."""
    count = processes or os.cpu_count() or 1
    if count == 1:
        yield from map(run_seed, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        yield from pool.imap_unordered(run_seed, seeds, chunksize=CHUNK)
