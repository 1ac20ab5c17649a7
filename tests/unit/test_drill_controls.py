"""What users see without a mechanism turns the drill red that proves it: the expectations of its file can fail.

The records are made up, after what was seen: who asks, how often, and what comes of it, with the mechanism and without.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

import pytest
from tests.unit.drill_records import BEGIN, HOMES, request

from loadtests.drills.command import drills
from loadtests.drills.figures import figures
from loadtests.drills.record import Phases, Record, RegionSample, Request, Sample, Way, Writes
from loadtests.drills.verdict import Outcome, judge

FAULT, HEAL, END = 15.0, 35.0, 60.0
SAMPLE = Sample(
    0.0, 0.4, {name: RegionSample("ready", 1.0, {"quote": 1}, {"quote": 1}, {}) for name in HOMES.values()}
)
Users = Callable[[float, int, Random], Request]
"""When it was due, its number, chance -> the request."""


def record(users: Users, rate: float = 25.0) -> Record:
    chance, due, number, seen = Random(3), 0.0, 0, []
    while (due := due + chance.expovariate(rate)) < END:
        number += 1
        seen.append(users(due, number, chance))
    return Record(
        phases=Phases(BEGIN, BEGIN + FAULT, BEGIN + HEAL, BEGIN + END),
        requests=tuple(seen),
        samples=tuple(replace(SAMPLE, at_s=BEGIN + second) for second in range(1, int(END) + 1)),
        writes=Writes(acknowledged=50),
    )


def in_fault(due: float) -> bool:
    return FAULT <= due < HEAL


def somewhere(number: int) -> tuple[str, str]:
    """A country, and the region that its users are at home in."""
    return sorted(HOMES.items())[number % len(HOMES)]


def lost_region(*, failover: bool) -> Users:
    """One of three is killed. Without failover, who comes through the entry goes on being sent there."""

    def users(due: float, number: int, chance: Random) -> Request:
        country, region = somewhere(number)
        way = Way.DNS if chance.random() < 0.5 else Way.ENTRY
        hit = in_fault(due) and region == "eu-west"
        exposed = way is Way.DNS and due < FAULT + 8
        failed = hit and (exposed or (way is Way.ENTRY and not failover))
        return request(
            due, 0.15, "no-region" if failed else "", "us-east" if hit else region, country=country, way=way
        )

    return users


def dying_replica(*, retries: bool) -> Users:
    """A replica dies every 6 s: what it held, and what comes before that is known, goes elsewhere or fails."""

    def users(due: float, number: int, chance: Random) -> Request:
        country, region = somewhere(number)
        hit = in_fault(due) and region == "eu-west" and (due - FAULT) % 6.0 < 0.3
        if hit and not retries:
            return request(due, 0.05, "upstream-unreachable", country=country, service="quote")
        return request(
            due,
            0.3 if hit else 0.15,
            region="us-east" if hit else region,
            country=country,
            service="quote",
            attempts=1 + hit,
        )

    return users


def standing_replica(*, ejection: bool) -> Users:
    """A replica stands still: until it is ejected, who is sent there waits for a hedge that the budget pays late."""

    def users(due: float, number: int, chance: Random) -> Request:
        country, region = somewhere(number)
        hit = in_fault(due) and region == "eu-west" and (not ejection or due < FAULT + 2.0)
        return request(
            due,
            2.0 + chance.random() if hit else 0.15,
            region="us-east" if hit else region,
            country=country,
            service="quote",
            attempts=1 + hit,
        )

    return users


def limping_replica(*, retries: bool) -> Users:
    """A replica answers once a second: hedges win, and soon its region is passed over but for a trial."""

    def users(due: float, number: int, chance: Random) -> Request:
        hit = in_fault(due) and (not retries or (due - FAULT) % 10.0 < 1.0)
        away = in_fault(due) and retries and (not hit or chance.random() < 0.5)
        return request(
            due,
            (0.25 if away else 0.15) + hit * chance.random(),
            region="us-east" if away else "eu-west",
            service="quote",
            attempts=1 + (hit and away),
        )

    return users


def too_many(*, shedding: bool) -> Users:
    """Three times as many as there are places, of 8 s each: without shedding, who finds none waits in vain."""

    def users(due: float, number: int, chance: Random) -> Request:
        if in_fault(due) and chance.random() < 2 / 3:
            return request(
                due,
                0.05 if shedding else 10.0,
                "full" if shedding else "timeout",
                attempts=0,
                service="quote-eu",
            )
        return request(due, 8.1, region="eu-west", service="quote-eu")

    return users


def failing(*, budget: bool) -> Users:
    """A third of all attempts fail. A budget pays a fifth of the requests another one; without it all have two more."""

    def users(due: float, number: int, chance: Random) -> Request:
        country, region = somewhere(number)
        share = 0.35 if in_fault(due) else 0.0
        attempts, failed = 1, chance.random() < share
        while failed and attempts < 3 and (not budget or chance.random() < 0.5):
            attempts, failed = attempts + 1, chance.random() < share
        return request(
            due,
            0.05 * attempts,
            "failed" if failed else "",
            region=region,
            country=country,
            service="quote",
            attempts=attempts,
        )

    return users


CONTROLS: Mapping[str, tuple[Users, Users, str, float]] = {
    "region-loss": (
        lost_region(failover=True),
        lost_region(failover=False),
        "during.entry.errors.replayable",
        25,
    ),
    "replica-crash-loop": (
        dying_replica(retries=True),
        dying_replica(retries=False),
        "during.errors.replayable",
        25,
    ),
    "slow-replica": (standing_replica(ejection=True), standing_replica(ejection=False), "settled_s", 25),
    "limping-replica": (
        limping_replica(retries=True),
        limping_replica(retries=False),
        "during.share.eu-west",
        15,
    ),
    "overload": (too_many(shedding=True), too_many(shedding=False), "during.errors.kind.timeout", 42),
    "failing-service": (failing(budget=True), failing(budget=False), "amplification.over_budget", 25),
}
"""Drill -> users with its mechanism, users without it, what shows it, and their rate."""


def test_every_drill_that_proves_something_is_here() -> None:
    assert {name: drill.proves for name, drill in drills().items() if drill.proves} == {
        "region-loss": "failover",
        "replica-crash-loop": "retries",
        "slow-replica": "ejection",
        "limping-replica": "retries",
        "overload": "shedding",
        "failing-service": "budget",
    }
    assert CONTROLS.keys() == {name for name, drill in drills().items() if drill.proves}


@pytest.mark.parametrize("name", CONTROLS)
def test_without_its_mechanism_a_drill_is_red_and_with_it_green(name: str) -> None:
    drill = drills()[name]
    well, broken, figure, rate = CONTROLS[name]
    held, failed = (
        judge(figures(seen, drill, HOMES), seen, drill) for seen in (record(well, rate), record(broken, rate))
    )
    assert held.outcome is Outcome.PASSED, held.reasons
    assert failed.outcome in {Outcome.FAILED, Outcome.ABORTED}, failed.reasons
    assert [one.held for one in failed.judged if one.figure == figure] == [False], failed.reasons
