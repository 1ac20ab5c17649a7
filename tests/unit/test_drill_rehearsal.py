"""A drill from its check to its end, on a target that only notes what is asked of it, with users of a few lines."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from atoll.cell.client import OperationFailed
from atoll.cell.status import RunStatus
from atoll.clock import SystemClock
from loadtests.drills import rehearsal as module
from loadtests.drills import traffic
from loadtests.drills.conductor import Course, End
from loadtests.drills.injection import HealFailed
from loadtests.drills.record import MarkKind, Record
from loadtests.drills.rehearsal import Over, Rehearsal
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
from loadtests.drills.target import TargetRefused, Waits

TIMES = Durations(steady_s=0.6, fault_s=0.6, recovery_s=0.4)
KILL = Fault(FaultKind.KILL, "eu-west")
USERS = """
import json, signal, sys, time
from pathlib import Path
requests, end = Path(sys.argv[1]), []
signal.signal(signal.SIGTERM, lambda *_: end.append(1))
until = time.monotonic() + float(sys.argv[2])
if until < time.monotonic():
    sys.exit(7)
requests.with_suffix(".began").write_text(repr(time.monotonic()))
with requests.open("a", buffering=1) as file:
    while not end and time.monotonic() < until:
        now = time.monotonic()
        broken = Path(sys.argv[3]).exists()
        file.write(json.dumps({
            "due_s": now, "sent_s": now, "ended_s": now + 0.001, "name": "GET /x", "service": "catalog",
            "country": "IE", "way": "entry", "status": None if broken else 200,
            "error": "refused" if broken else "", "region": "" if broken else "eu-west", "attempts": 1,
            "replayable": True}) + "\\n")
        time.sleep(0.02)
sys.exit(0 if end else 7)
"""


@dataclass
class Noted:
    """A target on which a fault is a file that the users look at."""

    broken: Path
    url: str = "http://nowhere"
    topology_file: Path | None = None
    did: list[str] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)
    felt: bool = False
    """Whether users feel the fault."""

    async def check(self, drill: Drill, waits: Waits) -> None:
        self.note("check")
        waits("nothing")

    async def status(self) -> RunStatus | None:
        return None

    async def inject(self, fault: Fault) -> None:
        self.note("inject")
        if self.felt:
            self.broken.touch()

    async def heal(self, fault: Fault) -> None:
        self.note("heal")
        self.broken.unlink(missing_ok=True)

    async def do_without(self, mechanism: str) -> None:
        self.note(f"without {mechanism}")

    async def do_with(self, mechanism: str) -> None:
        self.note(f"with {mechanism}")

    def note(self, what: str) -> None:
        self.did.append(what)
        if what in self.refuse:
            raise OperationFailed("not-possible", "it can't be done")


@pytest.fixture
def target(tmp_path: Path) -> Noted:
    return Noted(tmp_path / "broken")


@pytest.fixture(autouse=True)
def users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[float]:
    """How long the users live."""
    lives = [60.0]

    def command(*arguments: object) -> list[str]:
        requests = next(one for one in arguments if isinstance(one, Path) and one.suffix == ".jsonl")
        return [sys.executable, "-c", USERS, str(requests), str(lives[0]), str(tmp_path / "broken")]

    monkeypatch.setattr(traffic, "command", command)
    monkeypatch.setattr(module, "TICK_S", 0.02)
    monkeypatch.setattr(module, "SAMPLE_S", 0.1)
    monkeypatch.setattr(module, "NOTICE_S", 0.0)
    return lives


def rehearsal(
    target: Noted,
    folder: Path,
    faults: Sequence[Fault] = (KILL,),
    *,
    without: str = "",
    times: Durations = TIMES,
    heard: list[Course] | None = None,
) -> Rehearsal:
    drill = Drill(
        "one",
        "One",
        "local",
        Load(Shape(ShapeKind.STEADY, 5)),
        tuple(faults),
        Limits(failed=10),
        (Expectation("during.errors", at_most=0),),
        times,
        times,
    )

    def hear(record: Record, course: Course) -> None:
        if heard is not None:
            heard.append(course)

    return Rehearsal(drill, times, target, folder, SystemClock(), without=without, heard=hear)


async def held(one: Rehearsal) -> Over:
    async with asyncio.timeout(30):
        return await one.run()


async def test_a_drill_from_its_check_to_its_end(target: Noted, tmp_path: Path) -> None:
    heard: list[Course] = []
    over = await held(rehearsal(target, tmp_path, without="failover", heard=heard))
    assert target.did == ["check", "without failover", "inject", "heal", "with failover"]
    assert over.course.end is End.COMPLETE
    phases = over.record.phases
    assert phases.begin_s < phases.fault_s < phases.heal_s < phases.end_s
    assert over.record.requests[-1].due_s >= phases.heal_s
    assert len(over.record.samples) >= 5
    assert [mark.kind for mark in over.record.marks if mark.kind is not MarkKind.DECISION] == [
        MarkKind.FAULT,
        MarkKind.PHASE,
        MarkKind.FAULT,
        MarkKind.PHASE,
        MarkKind.HEAL,
    ]
    assert len(heard) >= 5


async def test_a_spent_budget_calls_it_off(target: Noted, tmp_path: Path) -> None:
    target.felt = True
    times = Durations(steady_s=0.6, fault_s=60, recovery_s=60)
    over = await held(rehearsal(target, tmp_path, times=times))
    assert over.course.end is End.ABORTED and "error budget of 10" in over.course.reason
    assert target.did == ["check", "inject", "heal"]
    assert not target.broken.exists()


async def test_users_that_die_end_the_drill_healed(target: Noted, tmp_path: Path, users: list[float]) -> None:
    users[0] = 1.0
    over = await held(rehearsal(target, tmp_path, times=Durations(0.4, 60, 60)))
    assert over.course.end is End.ABORTED and "ended with status 7" in over.course.reason
    assert target.did == ["check", "inject", "heal"]


async def test_a_fault_that_can_not_be_put_on_ends_the_drill_healed(target: Noted, tmp_path: Path) -> None:
    target.refuse = {"inject"}
    over = await held(rehearsal(target, tmp_path))
    assert over.course.end is End.ABORTED and "eu-west is killed: it can't be done" in over.course.reason
    assert target.did == ["check", "inject", "heal"]


async def test_an_interrupt_in_the_middle_heals(target: Noted, tmp_path: Path) -> None:
    one = rehearsal(target, tmp_path, times=Durations(0.4, 60, 60), without="budget")
    task = asyncio.create_task(held(one))
    async with asyncio.timeout(20):
        while "inject" not in target.did:
            await asyncio.sleep(0.01)
    one.interrupt()
    assert (await task).course.end is End.INTERRUPTED
    assert target.did == ["check", "without budget", "inject", "heal", "with budget"]


async def test_a_cancelled_drill_heals_however_often_it_is_cancelled(target: Noted, tmp_path: Path) -> None:
    task = asyncio.create_task(held(rehearsal(target, tmp_path, times=Durations(0.4, 60, 60))))
    async with asyncio.timeout(20):
        while "inject" not in target.did:
            await asyncio.sleep(0.01)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert target.did == ["check", "inject", "heal"]


async def test_what_broke_before_the_load_is_healed_if_no_load_comes(
    target: Noted, tmp_path: Path, users: list[float]
) -> None:
    users[0] = -1.0
    with pytest.raises(traffic.TrafficFailed, match="status 7"):
        await held(rehearsal(target, tmp_path, [Fault(FaultKind.KILL, "eu-west", before_load=True)]))
    assert target.did == ["check", "inject", "heal"]


async def test_what_can_not_be_healed_is_told(
    target: Noted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtests.drills.injection.PAUSE_S", 0.0)
    target.refuse = {"heal"}
    with pytest.raises(HealFailed, match="atoll fault heal"):
        await held(rehearsal(target, tmp_path))


async def test_a_target_that_refuses_is_left_alone(target: Noted, tmp_path: Path) -> None:
    async def refuse(drill: Drill, waits: Waits) -> None:
        raise TargetRefused("not here")

    target.check = refuse  # type: ignore[method-assign]
    with pytest.raises(TargetRefused):
        await held(rehearsal(target, tmp_path))
    assert target.did == []


async def test_deaf_users_are_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Noted) -> None:
    monkeypatch.setattr(traffic, "END_S", 0.3)
    deaf = USERS.replace("lambda *_: end.append(1)", "signal.SIG_IGN")
    requests = tmp_path / "requests.jsonl"
    monkeypatch.setattr(
        traffic, "command", lambda *_: [sys.executable, "-c", deaf, str(requests), "60", str(target.broken)]
    )
    load = Load(Shape(ShapeKind.STEADY, 5))
    async with traffic.Traffic(load, "http://nowhere", None, tmp_path, 60, 1) as users:
        process = users._process
        assert process is not None
    assert process.returncode == -signal.SIGKILL
