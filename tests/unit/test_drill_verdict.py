"""The verdict: each way to each outcome, and which weighs more."""

from dataclasses import replace

import pytest
from tests.unit.drill_records import Loss, drill, region_loss

from loadtests.drills.figures import figures
from loadtests.drills.record import Record
from loadtests.drills.scenario import Drill, Expectation, Fault, FaultKind, Limits
from loadtests.drills.verdict import Judged, Outcome, Verdict, budget_spent, judge, written


def verdict(loss: Loss | None = None, of: Drill | None = None, stopped: str = "") -> Verdict:
    of, record = of or drill(), region_loss(loss)
    return judge(figures(record, of), record, of, stopped)


def test_all_held() -> None:
    found = verdict()
    assert found.outcome is Outcome.PASSED and found.reasons == ()
    assert [one.held for one in found.judged] == [True] * 5
    assert [one.figure for one in found.judged if one.limit] == ["failed", "failed_elsewhere"]


@pytest.mark.parametrize(
    ("broken", "figure"),
    [
        (Loss(errors_for_s=2.0), "during.entry.errors.replayable"),
        (Loss(slow_for_s=5.0), "entry.settled_s"),
        (Loss(slow_for_s=30.0), "entry.settled_s"),
        (Loss(returns_s=50.0), "recovery_s"),
        (Loss(errors_after_heal_s=28.0), "recovery_s"),
        (Loss(elsewhere_errors=1), "failed_elsewhere"),
    ],
)
def test_what_is_broken_fails_and_is_named(broken: Loss, figure: str) -> None:
    found = verdict(broken)
    assert found.outcome is Outcome.FAILED
    assert any(reason.startswith(f"{figure}: expected at most") for reason in found.reasons)
    assert [one.held for one in found.judged if one.figure == figure] == [False]


def test_never_is_said_so_and_fails() -> None:
    found = verdict(Loss(returns_s=50.0))
    assert found.reasons == ("recovery_s: expected at most 20, seen never",)


def test_a_figure_of_which_nothing_was_seen_shows_nothing() -> None:
    found = verdict(of=drill(Expectation("during.service.cart.errors", at_most=0)))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reasons == ("during.service.cart.errors: nothing was seen of it",)
    assert found.judged[0].held is None


def test_a_region_that_nobody_knows_shows_nothing() -> None:
    """So that a typing error in a region's name is no expectation that always holds."""
    assert verdict(of=drill(Expectation("during.share.eu-wets", at_most=0.1))).outcome is Outcome.INCONCLUSIVE


def test_what_failed_weighs_more_than_what_was_not_seen() -> None:
    both = drill(Expectation("during.service.cart.errors", at_most=0), Expectation("failed", at_most=0))
    found = verdict(of=both)
    assert found.outcome is Outcome.FAILED
    assert found.reasons[0].startswith("failed: expected at most 0") and len(found.reasons) == 2


def test_a_busy_machine_shows_nothing_whatever_was_seen() -> None:
    for loss in (Loss(busy=0.85), Loss(busy=0.85, errors_for_s=3.0)):
        found = verdict(loss)
        assert found.outcome is Outcome.INCONCLUSIVE
        assert "too busy: 85% between fault and heal" in " ".join(found.reasons)


def test_a_region_that_starts_again_may_take_the_machine() -> None:
    assert verdict(Loss(busy_in_recovery=1.0)).outcome is Outcome.PASSED


def test_so_may_one_whose_restart_is_the_fault() -> None:
    record = region_loss(Loss())
    phases = record.phases
    busy = tuple(
        replace(sample, busy=1.0 if phases.fault_s < sample.at_s <= phases.heal_s else 0.4)
        for sample in record.samples
    )
    record = replace(record, samples=busy)
    for kind, outcome in ((FaultKind.RESTART_STORM, Outcome.PASSED), (FaultKind.KILL, Outcome.INCONCLUSIVE)):
        storm = drill(faults=(Fault(kind, "eu-west"),))
        assert judge(figures(record, storm), record, storm).outcome is outcome


def test_in_a_restart_storm_what_held_on_a_busy_machine_counts_and_what_did_not_shows_nothing() -> None:
    storm = drill(faults=(Fault(FaultKind.RESTART_STORM, "eu-west"),))
    busy = Loss(busy_in_recovery=1.0, recovery_s=15.0, busy=0.79)
    assert "of the whole drill" in verdict(busy).reasons[0], "the control: it is busy"
    assert verdict(busy, storm).outcome is Outcome.PASSED
    broken = verdict(replace(busy, errors_for_s=2.0), storm)
    assert broken.outcome is Outcome.INCONCLUSIVE and "too busy" in broken.reasons[0]
    assert verdict(Loss(errors_for_s=2.0), storm).outcome is Outcome.FAILED, "on a quiet machine it counts"
    before = verdict(Loss(busy=0.85), storm)
    assert before.outcome is Outcome.INCONCLUSIVE and "before the fault" in before.reasons[0]


def test_a_machine_that_is_busy_over_the_whole_drill_shows_nothing() -> None:
    record = region_loss(Loss())
    late = replace(
        record,
        samples=tuple(
            replace(sample, busy=0.75 if sample.at_s <= record.phases.heal_s else 1.0)
            for sample in record.samples
        ),
    )
    found = judge(figures(late, drill()), late, drill())
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "of the whole drill" in found.reasons[0]


def test_nobody_looked_how_busy_it_was() -> None:
    record = replace(region_loss(), samples=())
    assert judge(figures(record, drill()), record, drill()).outcome is Outcome.INCONCLUSIVE


def test_a_steady_state_that_does_not_hold_shows_nothing() -> None:
    found = verdict(Loss(steady_errors=1, errors_for_s=3.0))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reasons[0].startswith("the steady state did not hold: 1 of ")
    assert verdict(Loss(steady_errors=1), drill(steady_errors=0.01)).outcome is Outcome.PASSED


def test_nobody_came_before_the_fault() -> None:
    record = region_loss()
    empty = Record(record.phases, samples=record.samples)
    found = judge(figures(empty, drill()), empty, drill())
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reasons[0].startswith("there was no steady state")


def test_a_spent_budget_calls_off() -> None:
    tight = drill(limits=Limits(failed=20, failed_elsewhere=0))
    found = verdict(of=tight)
    assert found.outcome is Outcome.ABORTED
    assert found.reasons[0].startswith("the error budget of 20 failed requests is spent")
    assert verdict(Loss(exposed_for_s=0.5), tight).outcome is Outcome.PASSED


def test_who_stops_a_drill_is_told_first() -> None:
    found = verdict(Loss(errors_for_s=3.0, steady_errors=1), stopped="interrupted")
    assert found.outcome is Outcome.ABORTED
    assert found.reasons[0] == "interrupted" and len(found.reasons) > 2


def test_the_budget_is_spent_with_its_last_request() -> None:
    assert not budget_spent(19, Limits(failed=20))
    assert budget_spent(20, Limits(failed=20))


def test_exit_statuses_are_the_contract() -> None:
    assert {outcome: outcome.exit_status for outcome in Outcome} == {
        Outcome.PASSED: 0,
        Outcome.FAILED: 1,
        Outcome.INCONCLUSIVE: 4,
        Outcome.ABORTED: 4,
    }


@pytest.mark.parametrize(
    ("expectation", "words", "held"),
    [
        (Expectation("before.requests", at_least=1), "at least 1", True),
        (Expectation("before.requests", at_least=1, at_most=2), "from 1 to 2", False),
        (Expectation("before.availability", at_least=1.0), "at least 1", True),
        (Expectation("before.errors", at_most=0), "at most 0", True),
    ],
)
def test_bounds_are_told_and_include_themselves(expectation: Expectation, words: str, held: bool) -> None:
    judged: Judged = verdict(of=drill(expectation)).judged[0]
    assert (judged.expected, judged.held) == (words, held)
    assert judged.meaning and judged.unit


def test_values_as_people_read_them() -> None:
    assert [written(value) for value in (None, float("inf"), 3.0, 0.98765, 1234.5)] == [
        "nothing",
        "never",
        "3",
        "0.9877",
        "1234",
    ]
