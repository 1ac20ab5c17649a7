"""The arithmetic of the state's benchmark; what it measures is not tested here."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from atoll.state.kind import Kind
from atoll.state.store import REGISTER_FIELD, CellChange
from loadtests.bench.state.figures import (
    Aim,
    Arrival,
    Lag,
    Memory,
    Sample,
    Throughput,
    Trips,
    aims,
    compare,
    lags,
    needed_ms,
    quantile,
    sample,
)
from loadtests.bench.state.report import SCHEMA, Report, show, write_json
from loadtests.bench.state.wire import packed, write_commands

ACTOR = "a.1000000000"
RTT = {
    (a, b): ms for one, other, ms in (("a", "b", 20.0), ("a", "c", 80.0), ("b", "c", 90.0))
    for a, b in ((one, other), (other, one))
}  # fmt: skip


def per_s(value: float) -> Sample:
    return Sample(value, 1e6 / value, 2e6 / value)


def test_quantiles_are_values_that_were_measured() -> None:
    assert quantile([3.0, 1.0, 2.0, 4.0], 0.5) == 2.0
    assert quantile(range(1, 101), 0.99) == 99
    assert quantile([5.0], 0.99) == quantile([5.0], 0.0) == 5.0
    assert quantile([], 0.5) == 0.0


def test_a_round_is_counted_by_its_whole_time() -> None:
    assert sample(10, 2.0, [0.25, 0.5, 0.125]) == Sample(5.0, 0.25e6, 0.5e6)


def test_a_comparison_is_the_median_of_ratios_within_rounds() -> None:
    """Not the ratio of medians: a machine that is slow for a while is slow for both sides of a round."""
    pairs = [(per_s(50), per_s(100)), (per_s(6), per_s(10)), (per_s(700), per_s(1000))]
    found = compare("write", "SET", "at once", pairs, 0.5)
    assert found.ratio == pytest.approx(0.6)
    assert (found.low, found.high) == (pytest.approx(0.55), pytest.approx(0.65))
    assert (found.ours.per_s, found.theirs.per_s) == (50, 100)
    assert compare("write", "SET", "at once", pairs[:1]).high == 0.5


def test_lag_is_from_sending_to_the_first_time_that_a_region_knows() -> None:
    sent = {ACTOR: [(2, 10.0), (4, 10.5), (5, 10.6)]}  # 1 and 3 are heartbeats
    arrivals = [
        Arrival("b", ACTOR, 3, 10.1),
        Arrival("b", ACTOR, 9, 10.9),
        Arrival("c", ACTOR, 5, 11.0),
        Arrival("b", "b.1000000000", 100, 10.0),
    ]
    to_b, to_c = lags(sent, arrivals, {ACTOR: "a"}, {key: RTT[key] for key in (("a", "b"), ("a", "c"))})
    assert (to_b.writes, to_b.p50_ms, to_b.most_ms) == (3, pytest.approx(300.0), pytest.approx(400.0))
    assert to_b.limit_ms == 60.0
    assert to_c.p50_ms == pytest.approx(500.0)
    assert to_c.most_ms == to_c.p99_ms == pytest.approx(1000.0)


def test_a_write_that_never_came_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match="write 4 never came to b"):
        lags({ACTOR: [(2, 1.0), (4, 1.0)]}, [Arrival("b", ACTOR, 3, 2.0)], {ACTOR: "a"}, {("a", "b"): 20.0})


@pytest.mark.parametrize(
    ("caller", "home", "needed"),
    [("a", "a", 20.0), ("b", "b", 20.0), ("c", "c", 80.0), ("c", "a", 100.0), ("a", "c", 160.0)],
)
def test_a_strong_change_needs_its_home_and_from_there_a_majority(
    caller: str, home: str, needed: float
) -> None:
    assert needed_ms(caller, home, "abc", RTT) == needed


def test_of_five_acceptors_two_others_are_needed() -> None:
    rtt = {("a", other): ms for other, ms in zip("bcde", (40.0, 10.0, 30.0, 20.0), strict=True)}
    assert needed_ms("a", "a", "abcde", rtt) == 20.0


def found() -> Report:
    trips = [
        Trips("change", "a", "b", 10, 40.0, 50.0, 90.0, 1.5),
        Trips("first change", "a", "a", 10, 20.0, 41.0, 60.0),
        Trips("change", "a", "a", 10, 0.0, 2.0, 3.0, 1.5),
    ]
    lag = [Lag("a", "b", 20.0, 100, 15.0, 61.0, 70.0)]
    comparisons = [
        compare("write", "SET", "at once", [(per_s(60), per_s(100))], 0.5),
        compare("write", "SET", "one by one", [(per_s(10), per_s(100))]),
    ]
    return Report(
        date="2026-11-21",
        commit="abc",
        machine={},
        settings={},
        comparisons=comparisons,
        memory=[Memory("register by string", 100, 240.0, 160.0, 180.0)],
        throughput=[Throughput(("a", "b"), 100, 50.0, 40.0)],
        lag=lag,
        strong=trips,
        aims=aims(comparisons, lag, trips),
    )


def test_aims_are_of_what_was_promised_and_can_be_counted() -> None:
    write, lag, trips = found().aims
    assert (write.reached, write.passed) == (pytest.approx(0.6), True)
    assert (lag.wanted, lag.reached, lag.at_most, lag.passed) == (60.0, 61.0, True, False)
    assert (trips.reached, trips.passed) == (1.25, True)
    assert Aim("", 1.0, 1.0).passed
    assert not Aim("", 1.0, 0.99).passed


def test_an_aim_that_was_not_reached_is_told(tmp_path: Path) -> None:
    write_json(found(), tmp_path / "bench" / "state.json")
    document = json.loads((tmp_path / "bench" / "state.json").read_text())
    assert document["schema"] == SCHEMA
    assert document["passed"] is False
    assert [aim["passed"] for aim in document["aims"]] == [True, False, True]
    assert document["memory"][0]["ratio"] == 1.5
    assert [one["round_trips"] for one in document["strong"]] == [1.25, 2.05, None]
    console = Console(width=200)
    with console.capture() as printed:
        show(found(), console)
    assert printed.get().count("not reached") == 1


async def test_the_wire_carries_what_the_store_sends() -> None:
    commands = await write_commands(
        "views", Kind.REGISTER, [("key", [CellChange(REGISTER_FIELD, b"\0value")])]
    )
    assert [command[:6] for command in commands] == [("FCALL", "atoll1_write", 0, "views", "r", "key")]
    assert packed([("SET", "key", b"\r\n", 7)]) == (
        b"*4\r\n$3\r\nSET\r\n$3\r\nkey\r\n$2\r\n\r\n\r\n$1\r\n7\r\n"
    )
