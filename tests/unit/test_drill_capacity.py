"""The search for the highest rate, on made-up systems; and what is measured at one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.drill_records import BEGIN, request
from tests.unit.drill_statuses import REGION, RUN

from atoll.cell.status import ReplicaCount, RunStatus
from loadtests.capacity.idle import MachineBusy, read_used, refuse
from loadtests.capacity.objectives import Judgement, Measured, Objectives, judge, measured
from loadtests.capacity.report import Mode, Report, Step, drawn, write
from loadtests.capacity.search import RESOLUTION, Bound, Found, Search
from loadtests.capacity.settling import LONGEST_S, STILL_S, Settling

OBJECTIVES = Objectives(p99_s=2.0)
MOST = 1000.0

System = Callable[[float], Measured]


def queue(capacity: float, noise: float = 0.0, machine: float = 1e9, seed: int = 0) -> System:
    """Latency goes up as 1 / (1 - load) to capacity, and what is above it fails. p99 is off by chance by `noise`."""
    chance = Random(seed)

    def measure(rate: float) -> Measured:
        load = rate / capacity
        p99_s = min(10.0, 0.5 / (1.0 - load)) if load < 1.0 else 10.0
        requests = int(rate * 20)
        return Measured(
            rate=rate,
            requests=requests,
            errors=int(max(0.0, 1.0 - 1.0 / load) * requests),
            p50_s=0.2,
            p99_s=p99_s * chance.lognormvariate(0.0, noise),
            busy=rate / machine,
            shares={},
        )

    return measure


LIMIT = 0.75
"""Part of its capacity at which such a system's p99 is 2 s."""


def run(system: System, start: float = 8.0, most: float = MOST) -> tuple[Found, list[float]]:
    search = Search(start, most)
    asked = []
    while (rate := search.next_rate()) is not None:
        asked.append(rate)
        assert len(asked) < 100, "it goes on for ever"
        search.saw(rate, judge(system(rate), OBJECTIVES)[0])
    return search.found(), asked


@given(st.floats(12.0, 1200.0), st.floats(1.0, 60.0))
@settings(deadline=None)
def test_it_finds_the_limit_of_a_system_without_noise(capacity: float, start: float) -> None:
    found, asked = run(queue(capacity), start)
    assert found.rate is not None and found.bound is Bound.OBJECTIVES
    assert found.rate <= capacity * LIMIT + 1e-9 and found.refuted is not None
    assert found.rate >= capacity * LIMIT / (1 + RESOLUTION) - 1e-9
    assert max(asked) <= MOST and len(asked) < 40


def test_it_finds_the_limit_of_a_noisy_system() -> None:
    """p99 is off by a fifth: the limit that is found is, too, but never wild."""
    limits = []
    for seed in range(300):
        found, asked = run(queue(200.0, noise=0.2, seed=seed))
        assert found.rate is not None and len(asked) < 40
        limits.append(found.rate / (200.0 * LIMIT))
    limits.sort()
    assert limits[3] > 0.8 and limits[-3] < 1.2
    assert 0.9 < limits[150] < 1.1


def test_control_one_measurement_alone_would_be_fooled() -> None:
    """One measurement in twenty is bad, at any rate: somebody else used the machine for a moment."""

    def hiccups(seed: int) -> System:
        chance, well = Random(seed), queue(200.0)

        def measure(rate: float) -> Measured:
            seen = well(rate)
            slow = chance.random() < 0.05
            return Measured(
                rate, seen.requests, seen.errors, seen.p50_s, 9.0 if slow else seen.p99_s, seen.busy, {}
            )

        return measure

    def once(system: System) -> float:
        good, bad = 8.0, 0.0
        while not bad or bad / good > 1 + RESOLUTION:
            rate = good * 1.5 if not bad else (good * bad) ** 0.5
            if judge(system(rate), OBJECTIVES)[0] is Judgement.HELD:
                good = rate
            else:
                bad = rate
        return good

    true = 200.0 * LIMIT
    wrong = [
        sum(abs(rate / true - 1.0) > 0.12 for rate in rates)
        for rates in (
            [run(hiccups(seed))[0].rate or 0.0 for seed in range(100)],
            [once(hiccups(seed)) for seed in range(100)],
        )
    ]
    assert wrong[0] <= 5 and wrong[1] >= 15


def test_a_busy_machine_bounds_what_can_be_said() -> None:
    found, _ = run(queue(1000.0, machine=250.0))
    assert found.bound is Bound.MACHINE and found.rate is not None
    assert 0.8 * 250.0 / (1 + RESOLUTION) <= found.rate <= 0.8 * 250.0


def test_a_machine_that_is_busy_from_the_first() -> None:
    found, _ = run(queue(1000.0, machine=0.1))
    assert (found.rate, found.bound) == (None, Bound.MACHINE)


@pytest.mark.parametrize(
    ("judgements", "bound"),
    [
        ((Judgement.BUSY, Judgement.BUSY), Bound.MACHINE),
        ((Judgement.BUSY, Judgement.BROKEN), Bound.OBJECTIVES),
    ],
)
def test_objectives_that_broke_with_room_on_the_machine_are_the_limit(
    judgements: tuple[Judgement, ...], bound: Bound
) -> None:
    looking = Search(8.0, 8.0 * 1.05)
    for _ in range(2):
        looking.saw(8.0, Judgement.HELD)
    for judgement in judgements:
        looking.saw(8.4, judgement)
    assert looking.found() == Found(8.0, bound, 8.4)


def test_a_system_that_never_holds() -> None:
    found, asked = run(queue(0.001))
    assert (found.rate, found.bound) == (None, Bound.NOTHING)
    assert min(asked) >= 0.05 * 8.0


def test_a_start_above_the_limit_goes_down() -> None:
    found, _ = run(queue(20.0), start=100.0)
    assert found.rate is not None and 12.0 <= found.rate <= 15.0


def test_no_more_is_asked_for_than_allowed() -> None:
    found, asked = run(queue(1e9), most=50.0)
    assert found == Found(50.0, Bound.ASKED, None) and max(asked) == 50.0


def test_what_is_found_has_held_twice() -> None:
    search, held = Search(8.0, MOST), []
    system = queue(100.0)
    while (rate := search.next_rate()) is not None:
        judgement, _ = judge(system(rate), OBJECTIVES)
        held += [rate] if judgement is Judgement.HELD else []
        search.saw(rate, judgement)
    assert held.count(search.found().rate or 0.0) == 2


@pytest.mark.parametrize(("start", "most"), [(0.0, 1.0), (5.0, 4.0), (-1.0, 5.0)])
def test_rates_that_make_no_sense_are_refused(start: float, most: float) -> None:
    with pytest.raises(ValueError, match="begins above zero"):
        Search(start, most)


# One rate


def test_what_is_measured_is_what_was_due_in_that_time() -> None:
    requests = [request(number / 10, 0.5, "full" if number == 60 else "") for number in range(200)]
    seen = measured(10.0, requests, BEGIN + 5.0, BEGIN + 15.0, 0.3)
    assert (seen.requests, seen.errors, seen.shares) == (100, 1, {"eu-west": 1.0})
    assert seen.p99_s == pytest.approx(0.5)


def at(p99_s: float | None = 1.0, errors: int = 0, busy: float = 0.2, requests: int = 1000) -> Measured:
    return Measured(10.0, requests, errors, 0.1, p99_s, busy, {})


@pytest.mark.parametrize(
    ("seen", "judgement", "why"),
    [
        (at(), Judgement.HELD, ""),
        (at(p99_s=2.0), Judgement.HELD, ""),
        (at(p99_s=2.01), Judgement.BROKEN, "p99 was 2.01 s"),
        (at(errors=1), Judgement.HELD, ""),
        (at(errors=2), Judgement.BROKEN, "2 of 1000 requests failed"),
        (at(requests=0, p99_s=None), Judgement.BROKEN, "nobody came"),
        (at(busy=0.81, errors=500), Judgement.BUSY, "81% of the machine was in use"),
        (at(busy=0.8), Judgement.HELD, ""),
    ],
)
def test_judging_one_rate(seen: Measured, judgement: Judgement, why: str) -> None:
    assert judge(seen, OBJECTIVES) == (judgement, why)


# The report


def report() -> Report:
    modes = []
    for name, capacity in (("local region alone", 60.0), ("with spill", 180.0)):
        system, search, steps = queue(capacity, noise=0.1), Search(8.0, MOST), []
        while (rate := search.next_rate()) is not None:
            seen = system(rate)
            steps.append(Step(seen, *judge(seen, OBJECTIVES)))
            search.saw(rate, steps[-1].judgement)
        modes.append(Mode(name, tuple(steps), search.found()))
    return Report(
        "2026-11-21", {"cores": 2}, "local", "0" * 64, "eu-west", {"wait_s": 4.0}, OBJECTIVES, modes
    )


def test_the_report_is_written_and_drawn(tmp_path: Path) -> None:
    found = report()
    data, picture = write(found, tmp_path / "bench")
    document = json.loads(data.read_text())
    assert document["schema"] == "atoll.capacity/1"
    assert [mode["found"]["bound"] for mode in document["modes"]] == ["objectives", "objectives"]
    assert document["modes"][1]["found"]["rate"] > 2 * document["modes"][0]["found"]["rate"]
    assert picture.read_text().startswith("<svg") and "with spill" in drawn(found)


def test_a_curve_has_one_point_a_rate() -> None:
    found = report()
    rates = {step.seen.rate for mode in found.modes for step in mode.steps}
    assert len(rates) < sum(len(mode.steps) for mode in found.modes), "some were measured twice"
    assert drawn(found).count("<circle") == len(
        {(mode.name, step.seen.rate) for mode in found.modes for step in mode.steps}
    )


def test_a_result_in_words() -> None:
    assert "above it the objectives don't hold" in report().modes[0].words
    assert Mode("x", (), Found(None, Bound.NOTHING, 8.0)).words == "x: nothing; no rate that was tried holds"


@pytest.mark.parametrize(
    ("busy", "own", "words"),
    [(0.50, 0.48, None), (0.30, 0.10, "others than this run use 20%"), (0.85, 0.83, "this run uses 83%")],
)
def test_only_what_others_use_is_held_against_a_search(busy: float, own: float, words: str | None) -> None:
    if words is None:
        refuse(busy, own)
        return
    with pytest.raises(MachineBusy, match=words):
        refuse(busy, own)


def test_the_processor_time_of_a_process_whose_name_is_odd() -> None:
    assert read_used("7 (a) b) (c)) S 1 7 7 0 -1 4194304 100 0 0 0 250 30 9 9 35 15 1 0 99 1568416\n") == 280


def test_each_step_is_told_in_a_line() -> None:
    seen = Measured(12.0, 240, 1, 2.031, 4.2, 0.41, {"us": 0.75, "ie": 0.25})
    assert Step(seen, Judgement.HELD, "").words == (
        "12.0/s held (1 of 240 failed, p50 2,031 ms, p99 4,200 ms, 41% of the machine in use; "
        "answered by us 75%, ie 25%)"
    )
    nobody = Measured(12.0, 0, 0, None, None, 0.41, {})
    assert Step(nobody, Judgement.BROKEN, "nobody came").words.startswith(
        "12.0/s broken: nobody came (0 of 0 failed"
    )


def quotes(running: int, target: int) -> RunStatus:
    return replace(
        RUN, regions={"eu-west": replace(REGION, replicas={"quote": ReplicaCount(running, target)})}
    )


def settled_at(settling: Settling, states: dict[float, RunStatus], until: float = 300.0) -> float:
    """When it says so, asked once a second; `states` are those from some second on."""
    now, state = 0.0, quotes(1, 1)
    while now <= until:
        state = states.get(now, state)
        if settling.saw(now, state):
            return now
        now += 1.0
    raise AssertionError("it never settles")


def test_a_load_has_settled_once_no_replica_came_or_went_for_a_while() -> None:
    assert settled_at(Settling(0.0, 15.0), {}) == 15.0, "at the earliest"
    grown = {4.0: quotes(1, 3), 12.0: quotes(2, 3), 21.0: quotes(3, 3)}
    assert settled_at(Settling(0.0, 15.0), grown) == 20.0 + STILL_S
    in_turn = {4.0: quotes(2, 2), 10.0: quotes(3, 3)}
    assert settled_at(Settling(0.0, 5.0), in_turn) == 10.0 + STILL_S, "between two looks a replica came"


def test_what_never_settles_is_measured_as_it_is() -> None:
    assert settled_at(Settling(0.0, 15.0), {0.0: quotes(1, 2)}) == LONGEST_S
    assert settled_at(Settling(0.0, 200.0), {0.0: quotes(1, 2)}) == 200.0, "no sooner than was asked for"
