"""The search for the highest rate, on made-up systems; and what is measured at one."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.drill_records import BEGIN, request

from loadtests.capacity.objectives import Judgement, Measured, Objectives, judge, measured
from loadtests.capacity.report import Mode, Report, Step, drawn, write
from loadtests.capacity.search import RESOLUTION, Bound, Found, Search

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
