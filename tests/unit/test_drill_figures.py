"""Figures of drills: each says what it is to say, and changes when what it measures is broken."""

import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.drill_records import BEGIN, Loss, drill, found, phases, region_loss, request

from loadtests.drills.figures import NEVER, TABLE, figures, find, flatten, near, value
from loadtests.drills.figures.amplification import amplification, over_budget, worst
from loadtests.drills.figures.blast import failed_elsewhere, homes
from loadtests.drills.figures.clock import ClockFigures, clock_figures
from loadtests.drills.figures.machine import busiest, mean_busy, restarts
from loadtests.drills.figures.phases import Phase, by_phase, phase_of
from loadtests.drills.figures.scaling import scaling_figures
from loadtests.drills.figures.settling import (
    LEAST,
    last_error_s,
    lost,
    recovered_s,
    settled_s,
)
from loadtests.drills.figures.users import latency, percentile
from loadtests.drills.record import Phases, Record, RegionSample, Request, Sample, Way
from loadtests.drills.scenario import Fault, FaultKind, Shape, ShapeKind

FEW = settings(max_examples=50, deadline=None)
PHASES = Phases(BEGIN, BEGIN + 10, BEGIN + 20, BEGIN + 40)


def seen(loss: Loss, name: str) -> float | None:
    return value(flatten(found(loss)), name)


# Phases


@pytest.mark.parametrize(
    ("due_s", "seconds", "phase"),
    [
        (0.0, 0.1, Phase.BEFORE),
        (9.95, 0.04, Phase.BEFORE),
        (9.95, 0.1, Phase.DURING),  # it was under way when the fault came
        (9.95, 15.0, Phase.DURING),
        (10.0, 0.1, Phase.DURING),
        (19.9, 5.0, Phase.DURING),  # the heal found it
        (20.0, 0.1, Phase.AFTER),
    ],
)
def test_a_request_belongs_to_the_phase_that_it_felt(due_s: float, seconds: float, phase: Phase) -> None:
    assert phase_of(request(due_s, seconds), PHASES) is phase


@FEW
@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0, 20))))
def test_every_request_belongs_to_one_phase(times: list[tuple[float, float]]) -> None:
    requests = [request(due, took) for due, took in times]
    assert sum(map(len, by_phase(requests, PHASES).values())) == len(requests)


def test_what_warms_the_run_up_does_not_count() -> None:
    record = region_loss(Loss())
    phases = record.phases
    cold = replace(
        record,
        phases=replace(phases, warm_s=phases.begin_s + 5.0),
        requests=tuple(
            replace(one, error="full", region="") if one.due_s < phases.begin_s + 5.0 else one
            for one in record.requests
        ),
    )
    assert figures(replace(cold, phases=phases), drill()).phases[Phase.BEFORE].users.errors
    seen = figures(cold, drill()).phases[Phase.BEFORE]
    assert not seen.users.errors
    assert seen.seconds == pytest.approx(phases.fault_s - phases.begin_s - 5.0)


def test_what_was_due_before_the_steady_state_warms_up_and_does_not_count() -> None:
    record = region_loss()
    early = replace(record, requests=(request(-5.0, error="500"), *record.requests))
    assert flatten(figures(early, drill())) == flatten(figures(record, drill()))


def test_what_the_end_cut_off_does_not_count() -> None:
    record = region_loss()
    cut_off = replace(record, requests=(*record.requests, request(64.0, 6.0, "unfinished")))
    assert flatten(figures(cut_off, drill())) == flatten(figures(record, drill()))


# What users got


def test_percentiles_are_nearest_ranks() -> None:
    hundred = [float(number) for number in range(1, 101)]
    assert [percentile(hundred, share) for share in (0.5, 0.9, 0.99, 0.999, 1.0)] == [50, 90, 99, 100, 100]
    assert percentile([7.0], 0.5) == 7.0
    assert percentile([], 0.5) is None


@FEW
@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_the_least_value_that_enough_do_not_exceed(values: list[float], share: float) -> None:
    ordered = sorted(values)
    chosen = percentile(ordered, share)
    assert chosen is not None
    assert sum(value <= chosen for value in ordered) >= share * len(ordered) - 1e-9
    assert sum(value < chosen for value in ordered) < share * len(ordered) + 1e-9


def test_latency_counts_from_when_a_request_was_due() -> None:
    late = replace(request(1.0, 3.0), sent_s=BEGIN + 3.5)
    assert latency([late]).p50_s == pytest.approx(3.0)


def test_failing_fast_makes_no_latency_better() -> None:
    requests = [request(1.0, 0.2), request(1.0, 0.3), request(1.0, 0.001, "refused")]
    assert latency(requests).p50_s == pytest.approx(0.2)


def test_errors_are_told_by_kind_by_way_and_by_whether_they_may_be_sent_again() -> None:
    requests = (
        request(11.0, error="refused", way=Way.DNS),
        request(11.0, error="timeout", replayable=False),
        request(11.1, error="timeout", criticality="critical"),
        request(11.2, service="cart"),
        request(11.3),
    )
    flat = flatten(figures(Record(PHASES, requests), drill()))
    assert flat["during.errors"] == 3
    assert flat["during.errors.replayable"] == 2
    assert flat["during.entry.errors"] == 2
    assert flat["during.entry.errors.replayable"] == 1
    assert flat["during.dns.errors"] == 1
    assert flat["during.critical.errors"] == 1
    assert flat["during.service.cart.errors"] == 0
    assert flat["during.errors.kind.timeout"] == 2
    assert value(flat, "during.errors.kind.reset") == 0
    assert flat["during.availability"] == pytest.approx(0.4)


def test_no_requests_show_nothing() -> None:
    flat = flatten(figures(Record(PHASES), drill()))
    assert flat["during.requests"] == 0
    for name in ("errors", "errors.replayable", "availability", "latency.p99_s", "goodput_per_s", "tries"):
        assert flat[f"during.{name}"] is None
    assert value(flat, "during.entry.errors.replayable") is None
    assert value(flat, "during.errors.kind.timeout") is None
    assert value(flat, "during.share.nowhere") is None
    for name in (
        "settled_s",
        "last_error_s",
        "recovery_s",
        "failed",
        "failed_elsewhere",
        "busy.mean",
        "writes.lost",
    ):
        assert flat[name] is None, name


def test_goodput_counts_from_when_the_load_can_be_answered() -> None:
    held = [request(10.0 + number / 10, 4.0) for number in range(100)]
    waits = drill(load=replace(drill().load, wait_ms=4000.0))
    assert flatten(figures(Record(PHASES, tuple(held)), waits))["during.goodput_per_s"] == pytest.approx(
        10, rel=0.02
    )
    assert flatten(figures(Record(PHASES, tuple(held)), drill()))["during.goodput_per_s"] == pytest.approx(
        6, rel=0.02
    )


def test_shares_are_of_answers() -> None:
    requests = (
        request(11.0),
        request(11.0, region="us-east"),
        request(11.0, region="us-east"),
        request(11.0, error="500"),
    )
    flat = flatten(figures(Record(PHASES, requests), drill()))
    assert flat["during.share.us-east"] == pytest.approx(2 / 3)
    assert flat["after.share.us-east"] is None


def test_users_that_retry_by_themselves_are_seen() -> None:
    requests = (request(11.0, error="full"), request(11.1, error="full", tries=2), request(11.2, tries=3))
    assert flatten(figures(Record(PHASES, requests), drill()))["during.tries"] == 3


# Settling


def settled(*requests: Request, bound_s: float = 0.5) -> float | None:
    return settled_s(sorted(requests, key=lambda one: one.due_s), BEGIN + 10, BEGIN + 20, bound_s)


def usual(*, rate: int = 20) -> list[Request]:
    return [request(10 + number / rate) for number in range(10 * rate)]


def test_all_is_well_from_the_fault_on() -> None:
    assert settled(*usual()) == 0.0


def test_nobody_came() -> None:
    assert settled() is None
    assert last_error_s([], BEGIN) is None
    assert recovered_s([], {"eu-west": 1.0}, BEGIN, BEGIN + 10) is None


def test_an_error_keeps_from_settling_until_it_was_due() -> None:
    assert settled(*usual(), request(13.3, 4.0, "timeout")) == pytest.approx(3.3)


def test_the_last_error_is_when_its_user_saw_it() -> None:
    felt = [request(13.3, 4.0, "timeout"), request(14.0)]
    assert last_error_s(felt, BEGIN + 10) == pytest.approx(7.3)
    assert last_error_s(felt[1:], BEGIN + 10) == 0.0


def test_one_straggler_is_chance_and_two_are_not() -> None:
    assert settled(*usual(), request(13.3, 2.0)) == 0.0
    assert settled(*usual(), request(13.3, 2.0), request(13.4, 2.0)) == pytest.approx(3.4)


def test_slow_requests_of_a_third_of_the_users_are_seen_at_low_rates() -> None:
    """With 5 requests a second, half a second has two or three: a p99 of these is nothing."""
    few = [request(10 + number / 5, 2.0 if number % 3 == 0 and number < 30 else 0.1) for number in range(50)]
    assert settled(*few) == pytest.approx(27 / 5)


def test_slow_as_ever_is_not_slow() -> None:
    slow = [replace(one, ended_s=one.due_s + 0.45) for one in usual()]
    assert settled(*slow) == 0.0
    assert settled(*slow, bound_s=0.4) == NEVER


def test_trouble_at_the_end_has_not_ended() -> None:
    assert settled(*usual(), request(19.5, error="500")) == NEVER
    assert settled(*usual(), request(18.5, error="500")) == pytest.approx(8.5)


@FEW
@given(st.lists(st.floats(10, 18.9), min_size=1, max_size=20))
def test_settled_is_never_before_the_last_error(dues: list[float]) -> None:
    errors = [request(due, error="500") for due in dues]
    assert settled(*usual(), *errors) == pytest.approx(max(dues) - 10)


def test_how_rarely_chance_looks_like_trouble() -> None:
    """Requests as in the steady state, heavy tail included: the bound is from one sample, the rest from another."""
    false = 0
    for seed in range(100):
        chance = Random(seed)
        steady = sorted(chance.lognormvariate(-2.5, 0.6) for _ in range(300))
        bound = 2 * (percentile(steady, 0.99) or 0.0) + 0.25
        requests = [request(10 + number / 20, chance.lognormvariate(-2.5, 0.6)) for number in range(200)]
        false += settled(*requests, bound_s=bound) != 0.0
    assert false == 0


# Recovery


@pytest.mark.parametrize("returns_s", [0.0, 1.0, 3.0, 8.0, 15.0])
def test_recovery_is_when_the_region_has_its_share_again(returns_s: float) -> None:
    for seed in range(3):
        assert seen(Loss(seed=seed, returns_s=returns_s), "recovery_s") == pytest.approx(returns_s, abs=1.5)


def test_a_region_that_does_not_return_has_not_recovered() -> None:
    assert seen(Loss(returns_s=100.0), "recovery_s") == NEVER


def test_an_error_after_the_heal_is_not_recovered() -> None:
    assert (seen(Loss(returns_s=0.0), "recovery_s") or 0.0) < 1.5
    late = seen(Loss(returns_s=0.0, errors_after_heal_s=12.0), "recovery_s")
    assert late == pytest.approx(12.0, abs=0.5)


def test_how_rarely_chance_looks_like_a_region_that_is_gone() -> None:
    moments = [seen(Loss(seed=seed, rate=15.0, returns_s=0.0), "recovery_s") or 0.0 for seed in range(25)]
    assert sum(moment > 3.0 for moment in moments) <= 1


def test_a_region_that_kept_its_traffic_is_not_waited_for() -> None:
    """Its share may be small for a moment, by chance: visits are several requests from one place."""
    before = {"eu-west": 0.3, "us-east": 0.66, "ap-south": 0.04}
    assert lost(before, {"us-east": 0.95, "eu-west": 0.05}) == {"eu-west": 0.3}
    assert lost(before, {"us-east": 0.8, "eu-west": 0.2}) == {}
    assert lost(before, {}) == {"eu-west": 0.3, "us-east": 0.66}


def test_shares_that_follow_the_sun_are_not_waited_for() -> None:
    sun = drill(load=replace(drill().load, shape=Shape(ShapeKind.SUN, 30.0, period_s=60.0)))
    assert figures(region_loss(Loss(returns_s=100.0)), sun).recovery_s == 0.0


# Amplification


def test_amplification_counts_what_was_let_in() -> None:
    requests = [request(1.0, attempts=2), request(1.0), request(1.0, error="full", attempts=0)]
    assert amplification(requests) == 1.5
    assert amplification(requests[2:]) is None


def test_the_worst_window_is_found_wherever_it_is() -> None:
    requests = [request(number / 10, attempts=3 if 200 <= number < 300 else 1) for number in range(600)]
    assert worst(requests) == pytest.approx(3.0)
    assert amplification(requests) == pytest.approx(8 / 6)


def test_the_budget_is_of_a_service_and_a_gateway() -> None:
    """100 requests in 10 s may have 20 + 30 further attempts at the one gateway where they enter."""
    at_limit = [request(number / 10, attempts=2 if number % 2 else 1) for number in range(100)]
    assert over_budget(at_limit, 3) == pytest.approx(0.0)
    one_more = [*at_limit, request(9.95, attempts=3)]
    assert (over_budget(one_more, 3) or 0.0) > 0.0
    later = [*at_limit, replace(request(9.95, attempts=3), ended_s=one_more[-1].ended_s + 15.0)]
    assert (over_budget(later, 3) or 0.0) <= 1e-9, "its attempts may have been long after"
    burst = [request(number / 10, attempts=2 if number >= 50 else 1) for number in range(100)]
    assert (over_budget([*burst, request(14.0)], 3) or 0.0) <= 1e-9, (
        "all were made by 10 s, when 50 were paid for"
    )
    by_dns = [replace(one, way=Way.DNS) for one in one_more]
    assert (over_budget(by_dns, 3) or 0.0) < 0.0
    others = [request(number / 10, service="quote") for number in range(1000)]
    assert over_budget([*one_more, *others], 3) == over_budget(one_more, 3), "each service has its own"


@FEW
@given(st.dictionaries(st.integers(0, 60_000), st.integers(1, 4), min_size=1, max_size=40))
def test_windows_are_as_slow_counting_has_them(times: dict[int, int]) -> None:
    requests = [request(due / 1000, attempts=attempts) for due, attempts in times.items()]
    expected = max(
        sum(one.attempts for one in inside) / len(inside)
        for last in requests
        for inside in [[one for one in requests if last.sent_s - 10 < one.sent_s <= last.sent_s]]
    )
    assert worst(requests) == pytest.approx(expected)


# Blast radius


def test_homes_are_who_served_before() -> None:
    parts = by_phase(
        [
            *(request(1.0 + number) for number in range(3)),
            request(5.0, region="us-east"),
            request(15.0, region="us-east"),
            request(25.0, country="FR"),
            request(25.0, region="us-east"),
        ],
        PHASES,
    )
    assert homes(parts) == {"IE": "eu-west", "FR": "eu-west"}


def test_failures_elsewhere_are_those_of_users_whose_home_was_not_touched() -> None:
    requests = [
        request(11.0, error="500"),
        request(11.0, error="500", country="US"),
        request(11.0, country="US"),
    ]
    where = {"IE": "eu-west", "US": "us-east"}
    assert failed_elsewhere(requests, where, [Fault(FaultKind.KILL, "eu-west/gateway-1")]) == 1
    assert failed_elsewhere(requests, where, [Fault(FaultKind.CUT, "eu-west", other="us-east")]) == 1
    assert failed_elsewhere(requests, where, [Fault(FaultKind.KILL, "entry")]) == 2


# Autoscaling


def samples(*counts: int | None, wanted: tuple[int, ...] | None = None) -> list[Sample]:
    """One a second of one region and service; None: the region does not answer."""
    targets = wanted or tuple(count or 0 for count in counts)
    return [
        Sample(
            BEGIN + number + 1,
            0.5,
            {
                "eu-west": RegionSample("ready", 1.0, {}, {}, {})
                if count is None
                else RegionSample("ready", 1.0, {"quote": count}, {"quote": targets[number]}, {})
            },
        )
        for number, count in enumerate(counts)
    ]


SHORT = Phases(BEGIN, BEGIN + 3, BEGIN + 8, BEGIN + 12)


def test_reaction_is_when_more_run_than_ever_before() -> None:
    scaling = scaling_figures(samples(1, 1, 1, 1, 2, 3, 3, 3, 3, 2, 1, 1), SHORT)
    assert (scaling.reaction_s, scaling.calm_s) == (2.0, 3.0)
    assert (scaling.turns, scaling.most_replicas, scaling.added) == (1, 3, 2)


def test_replicas_that_come_back_are_none_more() -> None:
    scaling = scaling_figures(samples(1, 1, 1, None, 0, 1, 1, 1, 1, 1, 1, 1), SHORT)
    assert (scaling.reaction_s, scaling.calm_s, scaling.added) == (NEVER, None, 0)


def test_replicas_that_stay_were_never_calm() -> None:
    assert scaling_figures(samples(1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2), SHORT).calm_s == NEVER


def test_swinging_is_seen_in_what_serve_wants() -> None:
    swinging = samples(*[1] * 12, wanted=(1, 1, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1))
    assert scaling_figures(swinging, SHORT).turns == 5
    assert scaling_figures(samples(1, 1, 1, 2, 3, 4, 4, 4, 4, 4, 4, 4), SHORT).turns == 0


def test_no_samples_no_figures() -> None:
    assert scaling_figures([], SHORT).reaction_s is None


# Machine


def test_busy_is_weighed_by_time() -> None:
    uneven = [Sample(1.0, 0.0, {}), Sample(2.0, 0.0, {}), Sample(6.0, 0.9, {})]
    assert mean_busy(uneven) == pytest.approx(0.6)
    assert busiest(
        [Sample(float(at), 1.0 if 10 <= at < 15 else 0.2, {}) for at in range(30)]
    ) == pytest.approx(1.0)
    assert mean_busy([]) is None and busiest([]) is None


def test_restarts_are_counted_over_gaps() -> None:
    def sample(at: float, **regions: int) -> Sample:
        return Sample(
            at,
            0.1,
            {name: RegionSample("ready", 1.0, {}, {}, {}, restarts=count) for name, count in regions.items()},
        )

    assert restarts([sample(1, a=3, b=0), sample(2, b=1), sample(3, a=5, b=1), sample(4, a=0, b=1)]) == 3
    assert restarts([Sample(1.0, 0.1, {})]) is None


# Each figure of a made-up drill changes when what it measures is broken


@pytest.mark.parametrize(
    ("name", "broken", "well", "ill"),
    [
        ("during.entry.errors.replayable", Loss(errors_for_s=3.0), 0, 1),
        ("entry.settled_s", Loss(errors_for_s=3.0), 0, 2),
        ("entry.settled_s", Loss(slow_for_s=9.0), 0, 8),
        ("entry.last_error_s", Loss(errors_for_s=3.0), 0, 2),
        ("exposure.failed", Loss(exposed_for_s=15.0), 10, 50),
        ("exposure.seconds", Loss(exposed_for_s=15.0), 4, 13),
        ("failed", Loss(errors_for_s=15.0), 10, 60),
        ("failed_elsewhere", Loss(elsewhere_errors=2), 0, 2),
        ("during.errors.kind.full", Loss(elsewhere_errors=2), 0, 2),
        ("before.errors", Loss(steady_errors=2), 0, 2),
        ("during.amplification", Loss(attempts_in_fault=2), 1, 1.9),
        ("amplification.worst_10s", Loss(attempts_in_fault=3), 1, 2.9),
        ("amplification.over_budget", Loss(attempts_in_fault=3), -200, 1),
        ("recovery_s", Loss(returns_s=12.0), 2, 10),
        ("after.errors", Loss(errors_after_heal_s=5.0), 0, 10),
        ("autoscaling.reaction_s", Loss(replicas_at_s=11.0), 3, 11),
        ("busy.mean", Loss(busy=0.9), 0.4, 0.89),
        ("busy.most_5s", Loss(busy=1.0), 0.5, 0.99),
        ("restarts", Loss(restarts=2), 0, 2),
        ("writes.lost", Loss(lost_writes=1), 0, 1),
        ("during.latency.p99_s", Loss(slow_for_s=20.0), 0.1, 1),
        ("during.latency.p99_ratio", Loss(slow_for_s=20.0), 0.5, 3),
    ],
)
def test_a_broken_mechanism_shows(name: str, broken: Loss, well: float, ill: float) -> None:
    good, bad = seen(Loss(), name), seen(broken, name)
    assert good is not None and bad is not None
    assert well <= good < ill <= bad


def test_users_of_dns_and_of_the_entry_are_told_apart() -> None:
    flat = flatten(found(Loss(exposed_for_s=9.0)))
    assert flat["entry.last_error_s"] == 0.0 and flat["during.entry.errors"] == 0
    assert flat["dns.settled_s"] == pytest.approx(9.0, abs=1.0)


def test_a_region_that_is_lost_answers_nothing() -> None:
    flat = flatten(found())
    assert (flat["before.share.eu-west"] or 0) > 0.2
    assert (flat["during.share.eu-west"] or 0) < 0.02
    assert (flat["after.share.eu-west"] or 0) > 0.2


def test_a_drill_that_ended_before_its_fault_has_figures() -> None:
    whole = region_loss()
    ended = replace(
        whole,
        phases=Phases(BEGIN, BEGIN + 5, BEGIN + 5, BEGIN + 5),
        requests=whole.requests[:100],
        samples=(),
    )
    flat = flatten(figures(ended, drill()))
    assert flat["before.errors"] == 0 and flat["during.goodput_per_s"] is None


# The table


def test_every_figure_of_a_drill_is_in_the_table_and_every_one_of_the_table_in_a_drill() -> None:
    flat = flatten(found(Loss(elsewhere_errors=1)))
    assert [name for name in flat if find(name) is None] == []
    assert [figure.name for figure in TABLE if not any(map(figure.matches, flat))] == []


def test_a_name_is_of_one_figure() -> None:
    for name in flatten(found(Loss(elsewhere_errors=1))):
        assert sum(figure.matches(name) for figure in TABLE) == 1, name


def test_a_wrong_name_is_no_figure_and_has_near_ones() -> None:
    assert find("during.entry.error.replayable") is None
    assert near("during.entry.error.replayable")[0] == "during.entry.errors.replayable"
    assert find("during.shares.eu-west") is None
    assert find("duringXerrors") is None


def test_figures_have_no_surprises_at_the_phases_borders() -> None:
    record = region_loss()
    assert record.phases == phases(Loss())
    assert not any(
        math.isnan(seen) for seen in flatten(figures(record, drill())).values() if seen is not None
    )
    assert LEAST > 1


def clocked(*refused_at_s: float, told: bool = True) -> ClockFigures:
    samples = [
        Sample(
            BEGIN + second,
            0.1,
            {"eu-west": RegionSample("ready", 1.0, {}, {}, {}, refuses_writes=second in refused_at_s)}
            if told
            else {},
        )
        for second in range(1, 41)
    ]
    return clock_figures(samples, PHASES)


def test_a_wrong_clock_is_noticed_and_trusted_again() -> None:
    assert clocked(*range(12, 36)) == ClockFigures(2.0, 16.0)
    assert clocked(*range(12, 18)) == ClockFigures(2.0, 0.0), "before it was put right"
    assert clocked(*range(12, 41)) == ClockFigures(2.0, NEVER)
    assert clocked() == ClockFigures(NEVER, None), "nobody noticed"
    assert clocked(told=False) == ClockFigures(None, None)
