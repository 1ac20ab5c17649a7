"""Made-up drills: records of a region's loss as it should go, with knobs that break one thing each."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random

from loadtests.drills.figures import Figures, figures
from loadtests.drills.record import (
    Mark,
    MarkKind,
    Phases,
    Record,
    RegionSample,
    Request,
    Sample,
    Way,
    Writes,
)
from loadtests.drills.report import DrillDocument, Setting, document
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
from loadtests.drills.verdict import judge

BEGIN = 1000.0
"""Records count from anywhere."""
HOMES = {"IE": "eu-west", "US": "us-east", "JP": "ap-northeast"}
LOST = "eu-west"
INSTEAD = "us-east"


def request(
    due_s: float,
    seconds: float = 0.1,
    error: str = "",
    region: str = "eu-west",
    *,
    country: str = "IE",
    way: Way = Way.ENTRY,
    attempts: int = 1,
    replayable: bool = True,
    service: str = "catalog",
    tries: int = 1,
    criticality: str = "default",
) -> Request:
    """One request; times count from `BEGIN`."""
    return Request(
        due_s=BEGIN + due_s,
        sent_s=BEGIN + due_s,
        ended_s=BEGIN + due_s + seconds,
        name=f"GET /{service}",
        service=service,
        country=country,
        way=way,
        status=503 if error else 200,
        error=error,
        region="" if error else region,
        attempts=attempts,
        replayable=replayable,
        tries=tries,
        criticality=criticality,
    )


@dataclass(frozen=True, slots=True)
class Loss:
    """A region is lost. The defaults are how it should go: nobody behind the entry notices but by one slow attempt."""

    seed: int = 0
    rate: float = 30.0
    steady_s: float = 15.0
    fault_s: float = 20.0
    recovery_s: float = 30.0
    ways: tuple[Way, ...] = (Way.ENTRY, Way.DNS)
    errors_for_s: float = 0.0
    """So long after the fault all requests behind the entry for the lost region fail."""
    exposed_for_s: float = 6.0
    """And those of users that follow DNS."""
    slow_for_s: float = 0.6
    """So long after the fault requests for the lost region take longer by `slow_by_s`."""
    slow_by_s: float = 1.0
    returns_s: float = 4.0
    """After the heal."""
    errors_after_heal_s: float = 0.0
    attempts_in_fault: int = 1
    """Of each request while the fault lasts."""
    elsewhere_errors: int = 0
    steady_errors: int = 0
    busy: float = 0.4
    busy_in_recovery: float = 0.9
    replicas_at_s: float | None = 3.0
    """After the fault another replica runs in the region that takes over."""
    restarts: int = 0
    lost_writes: int = 0


def phases(loss: Loss) -> Phases:
    fault = BEGIN + loss.steady_s
    return Phases(BEGIN, fault, fault + loss.fault_s, fault + loss.fault_s + loss.recovery_s)


def region_loss(loss: Loss | None = None) -> Record:
    """The record of a loss."""
    loss = loss or Loss()
    chance = Random(loss.seed)
    found = phases(loss)
    return Record(
        phases=found,
        requests=tuple(_requests(loss, chance)),
        samples=tuple(_samples(loss, found)),
        marks=(
            Mark(found.begin_s, MarkKind.PHASE, "steady state"),
            Mark(found.fault_s, MarkKind.FAULT, f"{LOST} is killed"),
            Mark(found.fault_s + 1.0, MarkKind.DECISION, f"{LOST} is distrusted by all gateways"),
            Mark(found.heal_s, MarkKind.HEAL, f"{LOST} is healed"),
        ),
        writes=Writes(acknowledged=20, lost=loss.lost_writes),
    )


def _requests(loss: Loss, chance: Random) -> Iterable[Request]:
    heal = loss.steady_s + loss.fault_s
    due, number, elsewhere = 0.0, 0, 0
    while (due := due + chance.expovariate(loss.rate)) < heal + loss.recovery_s:
        number += 1
        way = loss.ways[number % len(loss.ways)]
        country = chance.choice(sorted(HOMES))
        since = due - loss.steady_s
        hit = HOMES[country] == LOST and since >= 0.0
        away = hit and since < loss.fault_s + loss.returns_s
        until = loss.errors_for_s if way is Way.ENTRY else loss.exposed_for_s
        error, took = "", 0.05 + chance.expovariate(20.0)
        if number <= loss.steady_errors:
            error = "500"
        elif hit and since < until:
            error = "refused"
        elif hit and loss.fault_s <= since < loss.fault_s + loss.errors_after_heal_s:
            error = "no-replica"
        elif not hit and 0.0 <= since < loss.fault_s and elsewhere < loss.elsewhere_errors:
            elsewhere += 1
            error = "full"
        if away:
            took += 0.074 + (loss.slow_by_s if since < loss.slow_for_s else 0.0)
        yield request(
            due,
            took,
            error,
            INSTEAD if away else HOMES[country],
            country=country,
            way=way,
            attempts=loss.attempts_in_fault if 0.0 <= since < loss.fault_s else 1,
        )


def _samples(loss: Loss, found: Phases) -> Iterable[Sample]:
    for number in range(1, int(found.end_s - found.begin_s) + 1):
        since = number - loss.steady_s
        in_fault = 0.0 < since <= loss.fault_s
        more = loss.replicas_at_s is not None and loss.replicas_at_s <= since <= loss.fault_s + 10.0
        regions = {
            name: RegionSample(
                state="killed" if in_fault and name == LOST else "ready",
                healthy_for=0.0 if in_fault and name == LOST else 1.0,
                replicas={}
                if in_fault and name == LOST
                else {"catalog": 2 if more and name == INSTEAD else 1},
                targets={}
                if in_fault and name == LOST
                else {"catalog": 2 if more and name == INSTEAD else 1},
                in_flight={"catalog": 3},
                restarts=loss.restarts if name == INSTEAD and since > 1.0 else 0,
            )
            for name in HOMES.values()
        }
        busy = loss.busy_in_recovery if loss.fault_s < since <= loss.fault_s + 10.0 else loss.busy
        yield Sample(found.begin_s + number, busy, regions)


def drill(*expectations: Expectation, **changes: object) -> Drill:
    """A drill of a region's loss."""
    made = Drill(
        name="region-loss",
        title="Ireland is killed under load and comes back",
        topology="local",
        load=Load(Shape(ShapeKind.STEADY, 30.0), (Way.ENTRY, Way.DNS)),
        faults=(Fault(FaultKind.KILL, LOST),),
        limits=Limits(failed=500, failed_elsewhere=0),
        expectations=expectations
        or (
            Expectation("during.entry.errors.replayable", at_most=0),
            Expectation("entry.settled_s", at_most=1.0),
            Expectation("recovery_s", at_most=20.0),
        ),
        long=Durations(15.0, 20.0, 30.0),
        short=Durations(10.0, 10.0, 10.0),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def found(loss: Loss | None = None, of: Drill | None = None) -> Figures:
    return figures(region_loss(loss), of or drill())


SETTING = Setting(
    date="2026-11-21T20:00:00+00:00",
    machine={"processor": "made up", "cores": 2, "system": "Linux 6", "python": "3.11.2"},
    short=False,
    durations=Durations(15.0, 20.0, 30.0),
    rate=30.0,
    topology_digest="0" * 64,
)


def report(loss: Loss | None = None, of: Drill | None = None, setting: Setting = SETTING) -> DrillDocument:
    """The document of a made-up drill."""
    of, record = of or drill(), region_loss(loss)
    seen = figures(record, of)
    return document(record, of, seen, judge(seen, record, of), setting)
