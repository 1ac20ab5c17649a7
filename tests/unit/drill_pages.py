"""Drills that never ran, as documents: what a page has to cope with."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loadtests.drills.figures import figures
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

BEGIN_S = 5000.0
COUNTRIES = ("US", "IE", "JP", "DE", "BR")


@dataclass(frozen=True)
class Story:
    """What is to have happened. The first region fails."""

    name: str = "region-loss"
    title: str = "A region is killed under load"
    regions: Sequence[str] = ("eu-west", "us-east", "ap-northeast")
    rate: float = 20.0
    durations: Durations = field(default_factory=lambda: Durations(20.0, 40.0, 30.0))
    ways: tuple[Way, ...] = (Way.ENTRY,)
    kinds: Sequence[str] = ()
    """Errors of requests in the first second of the fault; for users that follow DNS in the first ten."""
    failing: float = 1.0
    """The share of those that fail."""
    fault: FaultKind = FaultKind.KILL
    decisions: int = 3
    decisions_within_s: float = 3.0
    text: str = "{region} is distrusted by us-east/gateway-1"
    samples: bool = True
    expectations: tuple[Expectation, ...] = (
        Expectation("during.errors.replayable", at_most=0),
        Expectation("settled_s", at_most=1.0),
        Expectation("during.latency.p99_s", at_most=1.0),
        Expectation("after.availability", at_least=0.999),
        Expectation("amplification.over_budget", at_most=0),
    )
    replicas: int = 3
    busy: float = 0.45
    seed: int = 7
    without: str = ""
    stopped: str = ""


def drill(story: Story) -> Drill:
    """Its file."""
    target = story.regions[0] if story.regions else "eu-west"
    fault = Fault(story.fault, target, service="quote")
    return Drill(
        name=story.name,
        title=story.title,
        topology="local",
        load=Load(Shape(ShapeKind.STEADY, story.rate), ways=story.ways),
        faults=(fault,),
        limits=Limits(failed=100000, failed_elsewhere=0),
        expectations=story.expectations,
        long=story.durations,
        short=story.durations,
    )


def record(story: Story) -> Record:
    """What was seen of it."""
    generator = random.Random(story.seed)
    times = story.durations
    fault_s = BEGIN_S + times.steady_s + 0.13
    heal_s = fault_s + times.fault_s
    end_s = heal_s + times.recovery_s
    phases = Phases(BEGIN_S, fault_s, heal_s, end_s)
    marks = [
        Mark(fault_s, MarkKind.PHASE, "fault"),
        Mark(fault_s, MarkKind.FAULT, f"{story.regions[0] if story.regions else 'nothing'} is killed"),
        Mark(heal_s, MarkKind.HEAL, "everything is healed"),
        *(
            Mark(
                fault_s + 0.2 + story.decisions_within_s * number / max(1, story.decisions),
                MarkKind.DECISION,
                story.text.format(region=story.regions[number % len(story.regions)], number=number),
            )
            for number in range(story.decisions if story.regions else 0)
        ),
    ]
    samples = [
        _sample(story, BEGIN_S + number, phases, generator)
        for number in range(1, int(end_s - BEGIN_S) + 1)
        if story.samples
    ]
    return Record(
        phases, tuple(_requests(story, phases, generator)), tuple(samples), tuple(marks), Writes(40, 1)
    )


def _requests(story: Story, phases: Phases, generator: random.Random) -> Sequence[Request]:
    found: list[Request] = []
    due_s = phases.begin_s
    while story.rate and story.regions:
        due_s += generator.expovariate(story.rate)
        if due_s >= phases.end_s:
            break
        way = story.ways[len(found) % len(story.ways)]
        home = generator.randrange(len(story.regions))
        gone = home == 0 and phases.fault_s <= due_s < phases.heal_s
        exposed = 1.0 if way is Way.ENTRY else 10.0
        fails = story.kinds and phases.fault_s <= due_s < phases.fault_s + exposed and gone
        error = generator.choice(story.kinds) if fails and generator.random() < story.failing else ""
        region = story.regions[(home + 1) % len(story.regions) if gone else home]
        seconds = 0.02 * generator.lognormvariate(0, 0.6) + (0.09 if gone else 0.0)
        if gone and due_s < phases.fault_s + 1:
            seconds += generator.random() * 0.6
        found.append(
            Request(
                due_s,
                due_s,
                due_s + seconds,
                "GET /quote",
                "quote",
                COUNTRIES[home % 5],
                way,
                None if error else 200,
                error,
                "" if error else region,
                2 if gone and not error and due_s < phases.fault_s + 3 else 1,
                replayable=not error.startswith("outcome"),
            )
        )
    return found


def _sample(story: Story, at_s: float, phases: Phases, generator: random.Random) -> Sample:
    regions: dict[str, RegionSample] = {}
    for number, name in enumerate(story.regions):
        down = number == 0 and phases.fault_s <= at_s < phases.heal_s + 6
        raised = phases.fault_s + 4 <= at_s < phases.heal_s + 12 and number == 1
        wanted = story.replicas + (2 if raised else 0)
        running = 0 if down else wanted - (1 if raised and at_s < phases.fault_s + 9 else 0)
        regions[name] = RegionSample(
            "killed" if down else "ready",
            0.0 if down else 1.0,
            {"quote": running},
            {"quote": wanted},
            {"quote": 2},
        )
    return Sample(at_s, min(1.0, max(0.0, generator.gauss(story.busy, 0.06))), regions)


def made(story: Story, machine: Mapping[str, str | int] | None = None) -> DrillDocument:
    """The document of a story, through the same functions as a real one."""
    seen, planned = record(story), drill(story)
    found = figures(seen, planned)
    setting = Setting(
        date="2026-11-21T20:00:00+00:00",
        machine=machine
        or {"processor": "Some Processor 9000", "cores": 2, "system": "Linux 6.1", "python": "3.11.2"},
        short=False,
        durations=story.durations,
        rate=story.rate,
        topology_digest="3f2a9c01",
        without=story.without,
    )
    return document(seen, planned, found, judge(found, seen, planned, story.stopped), setting)


NASTY: Mapping[str, Story] = {
    "plain": Story(),
    "failed": Story(kinds=("outcome-unknown", "refused"), ways=(Way.ENTRY, Way.DNS)),
    "one-region": Story(regions=("eu-west",), decisions=1),
    "eight-regions": Story(
        regions=(
            "eu-west",
            "us-east",
            "ap-northeast",
            "sa-east",
            "af-south",
            "eu-north",
            "us-west",
            "ap-south",
        ),
        rate=60.0,
    ),
    "ten-kinds": Story(
        kinds=tuple(f"problem-of-kind-{number}" for number in range(10)),
        rate=150.0,
        failing=0.95,
        durations=Durations(20.0, 30.0, 20.0),
        ways=(Way.ENTRY, Way.DNS),
    ),
    "ten-minutes": Story(durations=Durations(120.0, 300.0, 180.0), kinds=("timeout",), rate=10.0),
    "twenty-seconds": Story(durations=Durations(6.0, 8.0, 6.0), kinds=("timeout",)),
    "nobody": Story(rate=0.0, samples=False, decisions=0),
    "no-samples": Story(samples=False),
    "many-decisions": Story(decisions=30, decisions_within_s=1.0),
    "hundreds-of-decisions": Story(
        decisions=400, decisions_within_s=60.0, text="replica {number} of quote in {region} is started again"
    ),
    "long-names": Story(
        name="a-drill-with-a-name-that-goes-on-and-on-and-on-and-on",
        title="A title that somebody wrote with a lot to say about what happens when a region <fails> & others don't",
        regions=(
            "the-region-with-the-longest-name-anybody-ever-thought-of",
            "x",
            "another-region-of-the-north-east-2",
        ),
        kinds=("a-problem-type-with-a-very-long-name-that-says-everything-there-is-to-say",),
        text="{region} is distrusted by every gateway of all other regions because it has not answered 3 probes",
        decisions=12,
    ),
    "surge": Story(fault=FaultKind.NONE, decisions=5, replicas=12, busy=0.86),
    "aborted": Story(kinds=("refused",), stopped="its error budget is spent: 25 requests failed, 20 may"),
    "without": Story(without="failover", kinds=("refused",)),
    "no-recovery": Story(durations=Durations(10.0, 20.0, 0.0)),
    "no-fault": Story(durations=Durations(10.0, 0.0, 0.0), stopped="the steady state did not hold"),
}
"""What pages are tested and looked at with."""
