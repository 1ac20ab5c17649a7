"""The simulator of replicated state, and some of the seeds that `python -m atoll.simulate.state 0 5000` runs."""

import pytest

from atoll.simulate.state.scenario import FaultKind, generate
from atoll.simulate.state.seeds import run_scenario, run_seed

SMALL = range(500_000, 500_036)
SEEDS = range(600_000, 600_003)


@pytest.mark.parametrize("part", range(4))
def test_small_worlds_are_sound(part: int) -> None:
    for seed in SMALL[part::4]:
        result = run_scenario(generate(seed, most=3, heal_s=3.0), seed)
        assert not result.violations, str(result)


def test_worlds_are_sound() -> None:
    for seed in SEEDS:
        result = run_seed(seed)
        assert not result.violations, str(result)


def test_the_same_seed_is_the_same_run() -> None:
    assert run_seed(11) == run_seed(11)
    assert run_seed(11) != run_seed(12)


def test_seeds_draw_every_fault_and_up_to_seven_regions() -> None:
    drawn = [generate(seed) for seed in range(400)]
    assert {fault.kind for scenario in drawn for fault in scenario.faults} == set(FaultKind)
    assert {len(scenario.regions) for scenario in drawn} == {3, 4, 5, 6, 7}


def test_runs_write_and_repair() -> None:
    results = [run_scenario(generate(seed, most=3, heal_s=3.0), seed) for seed in range(6)]
    assert sum(result.acknowledged for result in results) > 100
    assert any(result.counts["transfer-gap"] + result.counts["merged"] for result in results)
