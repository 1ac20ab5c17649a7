"""Runs many seeds: ``python -m atoll.simulate.state FIRST COUNT [PROCESSES]``."""

import logging
import sys
from collections import Counter

from atoll.simulate.state.seeds import run_seeds


def main() -> int:
    """Exit status: 0 if everything held, 1 if something did not."""
    first, count = int(sys.argv[1]), int(sys.argv[2])
    processes = int(sys.argv[3]) if len(sys.argv) > 3 else None
    logging.disable(logging.CRITICAL)  # of thousands of runs nobody reads them
    total: Counter[str] = Counter()
    slowest = 0.0
    failed = 0
    for result in run_seeds(range(first, first + count), processes):
        total.update(result.counts)
        total.update({"writes": result.writes, "acknowledged": result.acknowledged})
        slowest = max(slowest, result.equal_after_s)
        if result.violations:
            failed += 1
            print(result, flush=True)
    print(f"{count} seeds, {failed} failed; equal at most {slowest:.2f} s after healing")
    print(", ".join(f"{name} {number}" for name, number in sorted(total.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
