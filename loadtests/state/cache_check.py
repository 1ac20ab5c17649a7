"""``python -m loadtests.state.cache_check --minutes 10``: are caches ever older than the state was a second ago?

Three regions write, each to keys of its own; readers in all of them look at the state, and a second later at the cache,
which must have at least what the state had. So nothing is older than the replication's lag and a second.

Exit status: 0 nothing was too old, 1 something was, 3 the regions can't be run.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from atoll import cache, state
from atoll.state.errors import StateError
from atoll.state.sdk.scope import entered
from loadtests.bench.workbench import machine
from loadtests.state.cells import ROOT, Cell, CellsError, cells

SCHEMA = "atoll.drill-cache/1"
GRACE_S = 1.0
KEYS = 50
"""Of each region."""
READERS = 8
"""In each region."""

register = state.namespace("local").register
cached = cache.over(state.namespace("local"), cache.aside(ttl_s=3600), model=int)


@dataclass(slots=True)
class Seen:
    """What was written and read."""

    written: dict[str, list[float]] = field(default_factory=dict)
    """By key: when its first, second, ... value was acknowledged."""
    state_ages_s: list[float] = field(default_factory=list)
    cache_ages_s: list[float] = field(default_factory=list)
    too_old: list[str] = field(default_factory=list)
    unanswered: int = 0
    """Orders that a store did not answer in time: they are given again, or passed over."""

    def age_s(self, key: str, value: int, at: float) -> float:
        """For how long there had been something newer."""
        times = self.written[key]
        return max(0.0, at - times[value]) if value < len(times) else 0.0


async def writer(cell: Cell, seen: Seen, chance: Random) -> None:
    while True:
        key = f"{cell.region}/{chance.randrange(KEYS)}"
        times = seen.written.setdefault(key, [])
        try:
            with entered(cell.access.scope()):
                await register(key, int).set(len(times) + 1)
            times.append(time.monotonic())
        except StateError:  # the same value again, later: nobody else writes this key
            seen.unanswered += 1
        await asyncio.sleep(chance.expovariate(40))


async def reader(cell: Cell, seen: Seen, chance: Random) -> None:
    while True:
        await asyncio.sleep(chance.expovariate(10))
        if not seen.written:
            continue
        try:
            await _look(cell, seen, chance.choice(list(seen.written)))
        except StateError:
            seen.unanswered += 1


async def _look(cell: Cell, seen: Seen, key: str) -> None:
    with entered(cell.access.scope()):
        began = time.monotonic()
        had = await register(key, int).get() or 0
        seen.state_ages_s.append(seen.age_s(key, had, began))
        known = time.monotonic()
        await cached.get(key)  # whatever it finds may stay in memory, for no longer than the grace
        await asyncio.sleep(max(0.0, known + GRACE_S - time.monotonic()))
        began = time.monotonic()
        found = await cached.get(key) or 0
    seen.cache_ages_s.append(seen.age_s(key, found, began))
    if found < had:
        seen.too_old.append(
            f"{cell.region}: {key} was {found} {began - known:.3f} s after the state had {had}"
        )


async def check(folder: Path, seconds: float, seed: int) -> dict[str, object]:
    """Runs it all; the document."""
    seen = Seen()
    async with cells(folder) as running:
        every = [running[region] for region in running.regions]
        caches = [cache.opened(cell.access) for cell in every]
        tasks = [asyncio.create_task(writer(cell, seen, Random(f"{seed}{cell.region}"))) for cell in every]
        tasks += [
            asyncio.create_task(reader(cell, seen, Random(f"{seed}{cell.region}{number}")))
            for cell in every
            for number in range(READERS)
        ]
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        found = [one.statistics().tiers for one in caches]
    return {
        "schema": SCHEMA,
        "verdict": "failed" if seen.too_old or not seen.cache_ages_s else "passed",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "seed": seed,
        "seconds": seconds,
        "writes": sum(map(len, seen.written.values())),
        "reads": len(seen.cache_ages_s),
        "unanswered": seen.unanswered,
        "answered": {
            "memory": sum(one.memory.hits for one in found),
            "store": sum(one.hits for one in found),
            "loads": sum(one.loads for one in found),
        },
        "state_age_s": ages(seen.state_ages_s),
        "cache_age_s": ages(seen.cache_ages_s),
        "too_old": len(seen.too_old),
        "findings": seen.too_old[:50],
    }


def ages(found: list[float]) -> dict[str, float]:
    """For how long what was answered had been overtaken."""
    ordered = sorted(found) or [0.0]
    return {
        name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="loadtests.state.cache_check", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "drills" / "cache.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="atoll-") as folder:
        try:
            found = asyncio.run(check(Path(folder), arguments.minutes * 60, arguments.seed))
        except CellsError as error:
            sys.stderr.write(f"{error}\n")
            return 3
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(arguments.out.read_text())
    return 0 if found["verdict"] == "passed" else 1


if __name__ == "__main__":
    sys.exit(main())
