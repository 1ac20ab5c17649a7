"""Replicated state on a virtual clock under seeded faults: the production replication over models of the stores.

>>> run_seed(7).violations
()
"""

from atoll.simulate.state.parts import PRODUCTION, Parts
from atoll.simulate.state.seeds import SeedResult, run_seed, run_seeds

__all__ = ["PRODUCTION", "Parts", "SeedResult", "run_seed", "run_seeds"]
