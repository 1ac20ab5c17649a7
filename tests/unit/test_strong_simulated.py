"""Strong registers under seeded faults: every history is linearizable, and none is once a mechanism is broken."""

import pytest
from tests.unit.broken_strong import CONTROLS

from atoll.simulate.strong.world import Parts, Shape, simulate

SEEDS = range(60)
CHANGES = range(1_000, 1_020)


@pytest.mark.parametrize(
    ("seeds", "shape"),
    [
        (SEEDS, Shape()),
        (CHANGES, Shape(membership=True, wipe=False, faults=3)),
        (CHANGES, Shape(wipe=True, loss=0.1)),
        (CHANGES, Shape(acceptors=5, faults=5)),
    ],
    ids=["as drawn", "members change", "a store is wiped", "five acceptors"],
)
def test_every_history_is_linearizable(seeds: range, shape: Shape) -> None:
    operations = 0
    for seed in seeds:
        result = simulate(seed, shape=shape)
        assert result.linearizable, f"seed {seed}, {shape}: {result.verdicts}, {result.faults}"
        operations += len(result.events)
    assert operations > 30 * len(seeds)


def test_a_seed_always_gives_the_same_run() -> None:
    assert simulate(7) == simulate(7)


def test_without_faults_all_get_an_outcome_and_a_home_stays_warm() -> None:
    shape = Shape(acceptors=3, faults=0, loss=0.0, membership=False, wipe=False, homely=1.0, turns=0.0)
    commits = warm = 0
    for seed in range(10):
        result = simulate(seed, Parts(), shape)
        assert result.linearizable
        commits += sum(one.commits for one in result.statistics)
        warm += sum(one.warm_commits for one in result.statistics)
    assert warm > 0.7 * commits


@pytest.mark.parametrize("name", CONTROLS)
def test_what_is_broken_is_found_out(name: str) -> None:
    control = CONTROLS[name]
    for seed in control.seeds:
        if not simulate(seed, control.parts, control.shape).linearizable:
            return
    pytest.fail(f"{name}: no seed of {control.seeds} shows it; the checker or the faults see too little")
