"""Two reports side by side."""

from dataclasses import replace

import pytest
from tests.unit.drill_records import SETTING, Loss, drill, report

from loadtests.drills.compare import Change, CompareError, Comparison, compare


def changes(old: Loss, new: Loss) -> dict[str, Change]:
    return {one.figure: one.change for one in compare(report(old), report(new)).figures}


def test_the_same_drill_again_is_the_same() -> None:
    """Another seed: other requests, and nothing is said to be better or worse."""
    for seed in range(1, 6):
        assert compare(report(Loss()), report(Loss(seed=seed))).telling == ()


@pytest.mark.parametrize(
    ("worse", "figure"),
    [
        (Loss(errors_for_s=10.0), "during.entry.errors.replayable"),
        (Loss(errors_for_s=10.0), "during.availability"),
        (Loss(errors_for_s=10.0), "entry.last_error_s"),
        (Loss(slow_for_s=8.0), "entry.settled_s"),
        (Loss(slow_for_s=30.0), "entry.settled_s"),
        (Loss(slow_for_s=30.0), "during.latency.p99_s"),
        (Loss(returns_s=15.0), "recovery_s"),
        (Loss(returns_s=100.0), "recovery_s"),
        (Loss(attempts_in_fault=2), "during.amplification"),
        (Loss(lost_writes=1), "writes.lost"),
        (Loss(replicas_at_s=9.0), "autoscaling.reaction_s"),
        (Loss(replicas_at_s=None), "autoscaling.reaction_s"),
    ],
)
def test_what_got_worse_is_worse_and_the_other_way_better(worse: Loss, figure: str) -> None:
    assert changes(Loss(), worse)[figure] is Change.WORSE
    assert changes(worse, Loss())[figure] is Change.BETTER


def test_a_count_that_changed_by_chance_has_not_changed() -> None:
    assert changes(Loss(elsewhere_errors=20), Loss(elsewhere_errors=28))["failed_elsewhere"] is Change.SAME
    assert changes(Loss(elsewhere_errors=20), Loss(elsewhere_errors=60))["failed_elsewhere"] is Change.WORSE


def test_what_is_neither_good_nor_bad_is_other() -> None:
    assert changes(Loss(), Loss(busy=0.7))["busy.mean"] is Change.OTHER


def test_what_one_of_them_does_not_have_is_unseen() -> None:
    old = report()
    old = replace(old, figures={name: value for name, value in old.figures.items() if name != "settled_s"})
    found = {one.figure: one for one in compare(old, report()).figures}["settled_s"]
    assert (found.old, found.change, found.difference) == (None, Change.UNSEEN, None)


def test_never_has_no_difference_and_is_worse() -> None:
    found = {one.figure: one for one in compare(report(), report(Loss(returns_s=100.0))).figures}[
        "recovery_s"
    ]
    assert (found.new, found.change, found.difference) == ("never", Change.WORSE, None)


def test_other_drills_are_refused() -> None:
    other = replace(report(), name="region-drain")
    with pytest.raises(CompareError, match="different drills: 'region-drain' and 'region-loss'"):
        compare(other, report())


def test_what_else_differs_is_told() -> None:
    setting = replace(
        SETTING, machine={**SETTING.machine, "cores": 64}, rate=10.0, short=True, without="failover"
    )
    found: Comparison = compare(report(setting=setting), report(of=drill(title="Another title")))
    words = "\n".join(found.warnings)
    for part in (
        "cores was 64, and is 2",
        "10 visits a second, then 30",
        "turned off: failover, then nothing",
    ):
        assert part in words
    assert "the drill's file was changed" in words
    assert compare(report(), report()).warnings == ()


def test_the_worse_come_first() -> None:
    telling = compare(report(Loss(returns_s=15.0)), report(Loss(errors_for_s=10.0))).telling
    order = [one.change for one in telling]
    assert order == sorted(order, key=[Change.WORSE, Change.BETTER].index)
    assert {Change.WORSE, Change.BETTER} == set(order)
