"""Sessions under simulated faults with a lost disk in every run: no client sees less than its session promises."""

import pytest
from tests.unit.sessions_simulated import sessions

from atoll.state.sdk import regional
from atoll.state.vector import Dot, Vector, epoch_of, region_of

SEEDS = (700_000, 700_003)
BROKEN = 1
"""A seed whose lost disk leaves something in one other region alone."""


def test_sessions_hold() -> None:
    checks = 0
    for seed in (*SEEDS, BROKEN):
        found, looked, scenario = sessions(seed)
        assert not found, f"seed {seed}: {found[:3]}; {'; '.join(map(str, scenario.faults))}"
        checks += looked
    assert checks > 300


def test_control_they_do_not_if_a_new_epoch_alone_means_that_the_old_one_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def kept(needed: Dot, said: list[Vector]) -> Dot:
        own = said[0].latest(region_of(needed.actor))
        lost = own is not None and epoch_of(own.actor) > epoch_of(needed.actor)
        return Dot(needed.actor, min(needed.seq, said[0].seq(needed.actor))) if lost else needed

    monkeypatch.setattr(regional, "kept", kept)
    assert sessions(BROKEN)[0]
