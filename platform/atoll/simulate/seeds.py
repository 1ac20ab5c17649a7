"""Thousands of seeds, on all processors."""

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from atoll.simulate.generate import generate
from atoll.simulate.invariants import Invariant, check
from atoll.simulate.parts import PRODUCTION, Parts
from atoll.simulate.report import ViolationFigures, told
from atoll.simulate.world import simulate
from atoll.topology import Topology, load

CHUNK = 8
"""Seeds that a process takes at a time."""


@dataclass(frozen=True, slots=True)
class SeedResult:
    """What came of one seed."""

    seed: int
    digest: str
    requests: int
    attempts: int
    outcomes: dict[str, int]
    faults: tuple[str, ...]
    violations: tuple[ViolationFigures, ...]


def run_seed(seed: int, world: Topology, parts: Parts = PRODUCTION) -> SeedResult:
    """Draws the scenario of a seed, runs it, and checks it. What the simulated code raises is a finding like others."""
    scenario = generate(seed, world)
    faults = tuple(fault.kind.value for fault in scenario.faults)
    try:
        record = simulate(scenario, seed, parts)
    except Exception as error:  # noqa: BLE001  one broken run must not hide what the others show
        raised = ViolationFigures(Invariant.RUNS, 0.0, f"{type(error).__name__}: {error}")
        return SeedResult(seed, "", 0, 0, {}, faults, (raised,))
    return SeedResult(
        seed=seed,
        digest=record.digest(),
        requests=len(record.requests),
        attempts=sum(request.heads for request in record.requests),
        outcomes=dict(Counter(str(request.outcome) for request in record.requests)),
        faults=faults,
        violations=told(check(scenario, record), record.began),
    )


def run_seeds(seeds: range, topology: Path, processes: int | None = None) -> Iterator[SeedResult]:
    """The results of many seeds, as they come. Every process reads the topology once."""
    count = processes or os.cpu_count() or 1
    if count == 1:
        world = load(topology)
        yield from (run_seed(seed, world) for seed in seeds)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(count, initializer=partial(_begin, topology)) as pool:
        yield from pool.imap_unordered(_run, seeds, chunksize=CHUNK)


_worlds: list[Topology] = []
"""Of a worker process alone: what `_begin` read."""


def _begin(topology: Path) -> None:
    _worlds[:] = [load(topology)]


def _run(seed: int) -> SeedResult:
    return run_seed(seed, _worlds[0])
