"""The course of a drill: the schedule, the steady state, the error budget, and that nothing leads past the heal."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.drills.conductor import Conductor, Do, End, Stage
from loadtests.drills.record import Request, Way
from loadtests.drills.scenario import (
    Drill,
    Durations,
    Expectation,
    Fault,
    FaultKind,
    Limits,
    Load,
    Shape,
    ShapeKind,
)

TIMES = Durations(steady_s=10, fault_s=20, recovery_s=15)
DRILL = Drill(
    name="region-loss",
    title="Ireland is lost",
    topology="local",
    load=Load(Shape(ShapeKind.STEADY, 10)),
    faults=(Fault(FaultKind.KILL, "eu-west"),),
    limits=Limits(failed=20, failed_elsewhere=3),
    expectations=(Expectation("during.errors", at_most=0),),
    long=TIMES,
    short=TIMES,
)


def request(at_s: float, error: str = "", country: str = "IE", region: str = "eu-west") -> Request:
    return Request(
        due_s=at_s,
        sent_s=at_s,
        ended_s=at_s + 0.05,
        name="GET /catalog/search",
        service="catalog",
        country=country,
        way=Way.ENTRY,
        status=None if error else 200,
        error=error,
        region="" if error else region,
        attempts=1,
        replayable=True,
    )


def steady(until_s: float = 10.0) -> list[Request]:
    return [
        request(100 + at / 5, country=country, region=region)
        for at in range(int(until_s * 5))
        for country, region in (("IE", "eu-west"), ("JP", "ap-northeast"))
    ]


def conduct(
    conductor: Conductor, seen: Sequence[Request], until_s: float = 100.0, step_s: float = 0.2
) -> list[tuple[float, Do]]:
    """What is to be done and when, where every request is seen at the first step after its end."""
    waiting = sorted(seen, key=lambda one: one.ended_s)
    done: list[tuple[float, Do]] = []
    for number in range(int(until_s / step_s)):
        now = 100 + number * step_s
        while waiting and waiting[0].ended_s <= now:
            conductor.saw([waiting.pop(0)])
        do = conductor.step(now)
        if do is not Do.NOTHING:
            done.append((round(now - 100, 1), do))
        if do is Do.END:
            return done
    return done


def begun(drill: Drill = DRILL) -> Conductor:
    return Conductor(drill, TIMES, 100.0)


def test_it_injects_heals_and_ends_as_the_schedule_says() -> None:
    conductor = begun()
    assert conduct(conductor, steady()) == [(10.0, Do.INJECT), (30.0, Do.HEAL), (45.0, Do.END)]
    phases = conductor.phases(200)
    assert (phases.begin_s, phases.fault_s, phases.heal_s, phases.end_s) == pytest.approx(
        (100, 110, 130, 145)
    )
    assert phases.warm_s == pytest.approx(100 + 10 / 3)
    assert conductor.course(200).end is End.COMPLETE


def test_nothing_is_injected_where_the_steady_state_does_not_hold() -> None:
    conductor = begun()
    assert conduct(conductor, [*steady(), request(105, "timeout")]) == [(10.0, Do.END)]
    course = conductor.course(200)
    assert (course.end, course.stage) == (End.NOT_STEADY, Stage.OVER)
    assert "1 of 67 requests failed before the fault" in course.reason


def test_what_warms_the_run_up_is_not_its_steady_state() -> None:
    """Who finds a place only once Serve has added replicas is told so; a third of the time is for that."""
    conductor = begun()
    assert conduct(conductor, [*steady(), request(103, "full")])[0] == (10.0, Do.INJECT)
    late = begun()
    assert conduct(late, [*steady(), request(104, "full")]) == [(10.0, Do.END)]


def test_some_errors_before_the_fault_are_allowed_where_the_file_says_so() -> None:
    conductor = begun(replace(DRILL, steady_errors=0.02))
    assert conduct(conductor, [*steady(), request(105, "timeout")])[0] == (10.0, Do.INJECT)


@pytest.mark.parametrize("count", [0, 4])
def test_a_steady_state_of_hardly_any_requests_is_none(count: int) -> None:
    conductor = begun()
    assert conduct(conductor, steady()[-count:] if count else []) == [(10.0, Do.END)]
    assert f"only {count} requests" in conductor.course(200).reason


def test_the_drill_heals_and_ends_as_soon_as_its_error_budget_is_spent() -> None:
    failed = [request(112 + number * 0.1, "refused") for number in range(30)]
    conductor = begun()
    done = conduct(conductor, [*steady(), *failed])
    assert [do for _, do in done] == [Do.INJECT, Do.HEAL, Do.END]
    assert done[1][0] == pytest.approx(14.0, abs=0.4), "the twentieth failure is seen at 14 s"
    assert done[2][0] - done[1][0] <= 0.2
    assert conductor.course(200).end is End.ABORTED
    assert "error budget of 20" in conductor.course(200).reason


def test_within_its_budget_it_goes_on() -> None:
    failed = [request(112 + number * 0.1, "refused") for number in range(19)]
    assert conduct(begun(), [*steady(), *failed])[-1] == (45.0, Do.END)


def test_failures_outside_of_the_blast_radius_have_a_budget_of_their_own() -> None:
    failed = [request(115, "timeout", country="JP") for _ in range(4)]
    conductor = begun()
    assert [do for _, do in conduct(conductor, [*steady(), *failed])] == [Do.INJECT, Do.HEAL, Do.END]
    assert "reached further" in conductor.course(200).reason


def test_failures_of_those_next_to_the_fault_are_within_the_radius() -> None:
    failed = [request(115, "timeout", country="IE") for _ in range(4)]
    assert conduct(begun(), [*steady(), *failed])[-1] == (45.0, Do.END)


def test_what_ended_before_the_fault_is_not_on_its_account() -> None:
    conductor = begun()
    conductor.saw(steady())
    assert conductor.step(110.0) is Do.INJECT
    conductor.saw([request(109, "timeout") for _ in range(50)])
    assert conductor.step(110.2) is Do.NOTHING


def test_an_interrupt_heals_first() -> None:
    conductor = begun()
    conductor.saw(steady())
    assert conductor.step(110.0) is Do.INJECT
    conductor.interrupt("interrupted")
    assert [conductor.step(111.0), conductor.step(111.2)] == [Do.HEAL, Do.END]
    assert conductor.course(112).end is End.INTERRUPTED


def test_an_interrupt_before_the_fault_has_nothing_to_heal() -> None:
    conductor = begun()
    conductor.interrupt("interrupted")
    assert conductor.step(103.0) is Do.END


def test_what_was_broken_before_the_load_came_is_healed_even_if_nothing_else_happens() -> None:
    before = Fault(FaultKind.KILL, "eu-west", before_load=True)
    conductor = begun(replace(DRILL, faults=(before,)))
    assert conduct(conductor, []) == [(10.0, Do.HEAL), (10.2, Do.END)]


@settings(max_examples=50, deadline=None)
@given(
    chance=st.randoms(use_true_random=False),
    failures=st.lists(st.floats(100, 160, allow_nan=False), max_size=60),
    interrupted_at=st.none() | st.floats(100, 150, allow_nan=False),
    before_load=st.booleans(),
)
def test_whatever_happens_an_injected_fault_is_healed_once_before_the_end(
    chance: Random, failures: list[float], interrupted_at: float | None, *, before_load: bool
) -> None:
    faults = (Fault(FaultKind.KILL, "eu-west", before_load=before_load),)
    conductor = begun(replace(DRILL, faults=faults))
    seen = sorted(
        [*steady(), *(request(at, "refused") for at in failures)], key=lambda request: request.ended_s
    )
    now = 100.0
    done: list[Do] = []
    while Do.END not in done and now < 400:
        now += chance.uniform(0.1, 7)
        conductor.saw([one for one in seen if one.ended_s <= now])
        seen = [one for one in seen if one.ended_s > now]
        if interrupted_at is not None and now >= interrupted_at:
            conductor.interrupt("interrupted")
        done.append(conductor.step(now))
    assert done[-1] is Do.END
    injected = before_load or Do.INJECT in done
    assert done.count(Do.HEAL) == int(injected)
    assert done.count(Do.INJECT) <= 1
    if Do.INJECT in done:
        assert done.index(Do.INJECT) < done.index(Do.HEAL)
    phases = conductor.phases(now)
    assert phases.begin_s <= phases.fault_s <= phases.heal_s <= phases.end_s
