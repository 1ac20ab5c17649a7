"""Load, drills and benchmarks: run from a checkout, part of no distribution."""
