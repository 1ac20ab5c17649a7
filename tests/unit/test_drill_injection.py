"""What a drill breaks, and that it takes back all of it and nothing else; the users' command line; what is refused."""

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.unit.drill_statuses import REGION, RUN

from atoll.cell.client import NotRunning, OperationFailed, SupervisorClient
from atoll.cell.paths import RunPaths
from atoll.cell.status import FaultStatus, RegionState, ReplicaCount, RunStatus
from loadtests.drills import injection
from loadtests.drills import target as targets
from loadtests.drills.injection import HealFailed, Injection, InjectionFailed, words
from loadtests.drills.lock import DrillRunning, drill_lock
from loadtests.drills.record import MarkKind, Way
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
from loadtests.drills.target import Local, NotCalm, Remote, TargetRefused, Waits
from loadtests.drills.traffic import Follower, TrafficFailed, command

TOPOLOGY = Path(__file__).parents[2] / "infra" / "topologies" / "local.toml"
KILL = Fault(FaultKind.KILL, "eu-west")
CUT = Fault(FaultKind.CUT, "us-east", "ap-northeast")
DRAIN = Fault(FaultKind.DRAIN, "us-east")


@dataclass
class Recorded:
    """A target that notes what is asked of it."""

    url: str = "http://nowhere"
    topology_file: Path | None = None
    did: list[str] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)
    drained: asyncio.Event = field(default_factory=asyncio.Event)

    async def check(self, drill: Drill, waits: Waits) -> None:
        raise NotImplementedError

    async def status(self) -> RunStatus | None:
        return None

    async def inject(self, fault: Fault) -> None:
        self._note(f"inject {fault.kind.value} {fault.target}")
        if fault.kind is FaultKind.DRAIN:
            await self.drained.wait()

    async def heal(self, fault: Fault) -> None:
        self._note(f"heal {fault.kind.value} {fault.target}")

    async def do_without(self, mechanism: str) -> None:
        self._note(f"without {mechanism}")

    async def do_with(self, mechanism: str) -> None:
        self._note(f"with {mechanism}")

    def _note(self, what: str) -> None:
        self.did.append(what)
        if what in self.refuse:
            raise OperationFailed("not-possible", "it can't be done")


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(injection, "PAUSE_S", 0.0)


@pytest.fixture
def target() -> Recorded:
    return Recorded()


@pytest.fixture
def said() -> list[tuple[MarkKind, str]]:
    return []


@pytest.fixture
def breaking(target: Recorded, said: list[tuple[MarkKind, str]]) -> Injection:
    return Injection(target, lambda kind, text: said.append((kind, text)))


async def test_it_heals_what_it_did_the_last_first(
    breaking: Injection, target: Recorded, said: list[tuple[MarkKind, str]]
) -> None:
    await breaking.inject([KILL, CUT])
    await breaking.heal()
    assert target.did == [
        "inject kill eu-west",
        "inject cut us-east",
        "heal cut us-east",
        "heal kill eu-west",
    ]
    assert said[0] == (MarkKind.FAULT, "eu-west is killed")
    assert said[-1] == (MarkKind.HEAL, "eu-west is healed")
    await breaking.heal()
    assert len(target.did) == 4, "nothing is healed twice"


async def test_what_failed_half_way_is_healed_too(breaking: Injection, target: Recorded) -> None:
    target.refuse = {"inject cut us-east"}
    with pytest.raises(InjectionFailed, match="us-east - ap-northeast is cut: it can't be done"):
        await breaking.inject([KILL, CUT, DRAIN])
    await breaking.heal()
    assert target.did[-2:] == ["heal cut us-east", "heal kill eu-west"]
    assert "inject drain us-east" not in target.did


async def test_one_that_can_not_be_healed_keeps_no_other_from_it(
    breaking: Injection, target: Recorded
) -> None:
    await breaking.inject([KILL, CUT])
    target.refuse = {"heal cut us-east"}
    with pytest.raises(HealFailed, match="by hand"):
        await breaking.heal()
    assert breaking.in_force == (CUT,)
    assert "heal kill eu-west" in target.did
    target.refuse = set()
    await breaking.heal()
    assert breaking.in_force == ()


async def test_a_drain_goes_on_while_the_load_does_and_is_taken_back_in_the_middle(
    breaking: Injection, target: Recorded
) -> None:
    async with asyncio.timeout(5):
        await breaking.inject([DRAIN])
        await asyncio.sleep(0)
        await breaking.heal()
    assert target.did == ["inject drain us-east", "heal drain us-east"]


async def test_a_mechanism_that_was_turned_off_is_turned_on_again(
    breaking: Injection, target: Recorded
) -> None:
    await breaking.do_with_all()
    await breaking.do_without("failover")
    await breaking.do_with_all()
    await breaking.do_with_all()
    assert target.did == ["without failover", "with failover"]


async def test_a_mechanism_that_stays_off_is_told_and_tried_again(
    breaking: Injection, target: Recorded
) -> None:
    await breaking.do_without("ejection")
    target.refuse = {"with ejection"}
    with pytest.raises(HealFailed, match="atoll fault heal ejection"):
        await breaking.do_with_all()
    target.refuse = set()
    await breaking.do_with_all()
    assert target.did == ["without ejection", "with ejection", "with ejection"]


async def test_a_run_that_is_gone_needs_no_healing(breaking: Injection, target: Recorded) -> None:
    class Gone(Recorded):
        async def heal(self, fault: Fault) -> None:
            raise NotRunning(RunPaths(Path("/nowhere")))

    gone = Injection(Gone(), lambda *_: None)
    await gone.inject([KILL])
    await gone.heal()
    assert gone.in_force == ()


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_fault_is_told_in_words(kind: FaultKind) -> None:
    fault = Fault(
        kind, "eu-west", latency_s=0.3, rate_bytes_per_s=1024.0, service="quote", share=0.1, skew_s=-9
    )
    assert words(fault) and "None" not in words(fault)


class Supervisor(SupervisorClient):
    """Notes the requests that would go out."""

    asked: list[tuple[str, object]] = []  # noqa: RUF012

    async def _last(self, method: str, params: object, report: object) -> dict[str, object]:
        self.asked.append((method, params))
        return {}


@pytest.mark.parametrize("kind", [kind for kind in FaultKind if kind is not FaultKind.NONE])
async def test_every_fault_of_a_run_has_an_end(kind: FaultKind) -> None:
    supervisor = Supervisor(RunPaths(Path("/nowhere")))
    supervisor.asked.clear()
    local = Local(supervisor, "http://nowhere")
    fault = Fault(
        kind, "eu-west", latency_s=0.3, rate_bytes_per_s=1024.0, service="quote", share=0.1, skew_s=-9
    )
    await local.inject(fault)
    begun = len(supervisor.asked)
    assert begun >= 1
    await local.heal(fault)
    ends = [
        params
        for method, params in supervisor.asked
        if method == "undrain" or (isinstance(params, dict) and params.get("kind") == "heal")
    ]
    assert len(ends) == 1


def unheard(why: str) -> None:
    """Nobody is told what is waited for."""


def drill_with(*faults: Fault) -> Drill:
    times = Durations(1, 1, 1)
    return Drill(
        "one",
        "One",
        "local",
        Load(Shape(ShapeKind.STEADY, 5)),
        faults,
        Limits(5),
        (Expectation("during.errors", at_most=0),),
        times,
        times,
    )


async def test_nothing_is_broken_that_can_not_be_healed_from_here() -> None:
    remote = Remote("http://127.0.0.1:9")
    with pytest.raises(TargetRefused, match=r"needs kill.*overload, retry-storm"):
        await remote.check(drill_with(KILL), unheard)
    with pytest.raises(TargetRefused, match="does not answer"):
        await remote.check(drill_with(), unheard)
    scales = replace(drill_with(), expectations=(Expectation("autoscaling.turns", at_most=1),))
    with pytest.raises(TargetRefused, match="judges autoscaling"):
        await remote.check(scales, unheard)
    with pytest.raises(TargetRefused, match="--entry: 'localhost:8080' is no address such as"):
        await Remote("localhost:8080").check(drill_with(), unheard)
    with pytest.raises(TargetRefused, match="leave --without out"):
        await remote.do_without("failover")


def test_the_users_are_told_all_of_the_load() -> None:
    load = Load(
        Shape(ShapeKind.SPIKE, 10, peak=30, at_s=5, for_s=8),
        ways=(Way.ENTRY, Way.DNS),
        journey="quote",
        wait_ms=200,
        fails=0.25,
        countries=("IE", "JP"),
        timeout_s=1.5,
        client_retries=3,
    )
    line = " ".join(command(load, "http://here", Path("/x/shop.toml"), Path("/x/requests.jsonl"), 60, 7))
    for part in (
        "--headless",
        "--host http://here",
        "--topology /x/shop.toml",
        "--requests /x/requests.jsonl",
        "--way both",
        "--fails 0.25",
        "--shape spike",
        "--peak 30",
        "--at 5",
        "--for 8",
        "--journey quote",
        "--wait-ms 200",
        "--countries IE,JP",
        "--timeout 1.5",
        "--client-retries 3",
        "--seed 7",
        "--run-seconds 60",
    ):
        assert part in line
    assert "--period" not in line


LINE = (
    b'{"due_s":1,"sent_s":1,"ended_s":1.1,"name":"GET /x","service":"catalog","country":"IE","way":"entry",'
    b'"status":200,"error":"","region":"eu-west","attempts":1,"replayable":true}\n'
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "requests.jsonl"


def test_lines_are_taken_once_and_whole(file: Path) -> None:
    follower = Follower(file)
    assert list(follower.take()) == [], "there is no file yet"
    file.write_bytes(LINE + LINE[:30])
    assert len(list(follower.take())) == 1
    with file.open("ab") as more:
        more.write(LINE[30:] + LINE)
    assert len(list(follower.take())) == 2
    assert list(follower.take()) == []


def test_a_damaged_line_is_told(file: Path) -> None:
    file.write_bytes(b"nothing\n")
    with pytest.raises(TrafficFailed, match="no request"):
        list(Follower(file).take())


def test_two_drills_at_once_are_refused(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    with drill_lock(paths), pytest.raises(DrillRunning, match="another drill"), drill_lock(paths):
        pass
    with drill_lock(paths):
        pass


class Reporting(Supervisor):
    """Says what it is told to say."""

    says: list[RunStatus] = []  # noqa: RUF012

    async def status(self, *, memory: bool = True) -> RunStatus:
        return self.says[0] if len(self.says) == 1 else self.says.pop(0)


def local(*says: RunStatus) -> Local:
    supervisor = Reporting(RunPaths(Path("/nowhere")))
    supervisor.says[:] = says
    return Local(supervisor, "http://nowhere")


BROKEN = replace(RUN, faults=(FaultStatus("kill", "entry", ""),))


async def test_a_run_that_is_whole_and_of_the_right_kind_will_do() -> None:
    await local(RUN).check(drill_with(KILL, Fault(FaultKind.CUT, "entry", "eu-west")), unheard)


@pytest.mark.parametrize(
    ("status", "fault", "message"),
    [
        (
            replace(RUN, topology="shop"),
            KILL,
            r"'shop' runs here; `atoll down`, then `atoll up --detach --topology infra/topologies/local.toml`",
        ),
        (
            RUN,
            Fault(FaultKind.KILL, "mars/state"),
            "a fault on mars, which does not run here; there are eu-west",
        ),
        (BROKEN, KILL, "in force: kill entry. A drill begins on a run that is whole"),
    ],
)
async def test_a_run_that_will_not_do_is_refused(status: RunStatus, fault: Fault, message: str) -> None:
    with pytest.raises(TargetRefused, match=message):
        await local(status).check(drill_with(fault), unheard)


STARTING = replace(RUN, regions={"eu-west": replace(REGION, state=RegionState.STARTING)})


def scaled(running: int, target: int) -> RunStatus:
    return replace(
        RUN, regions={"eu-west": replace(REGION, replicas={"quote": ReplicaCount(running, target)})}
    )


async def test_it_begins_when_all_is_calm_and_tells_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(targets, "POLL_S", 0.0)
    heard: list[str] = []
    await local(RUN, STARTING, scaled(1, 2), scaled(2, 2)).check(drill_with(KILL), heard.append)
    assert heard == ["eu-west is starting", "eu-west runs 1 of quote, and wants 2"]


async def test_a_drill_of_autoscaling_waits_until_there_are_as_few_replicas_as_there_can_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(targets, "POLL_S", 0.0)
    heard: list[str] = []
    surge = replace(drill_with(), expectations=(Expectation("autoscaling.reaction_s", at_most=15),))
    run = local(RUN, scaled(2, 2), scaled(2, 1), scaled(1, 1))
    run.topology_file = TOPOLOGY
    await run.check(surge, heard.append)
    assert heard == [
        "eu-west still has 2 of quote from a load before, and 1 at rest",
        "eu-west runs 2 of quote, and wants 1",
    ]


async def test_what_does_not_come_to_rest_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "POLL_S", 0.0)
    monkeypatch.setattr(targets, "CALM_PATIENCE_S", 0.02)
    with pytest.raises(NotCalm, match=r"did not come to rest within 0 s.*eu-west is starting"):
        await local(STARTING).check(drill_with(KILL), unheard)
