"""Holds one drill: starts its users, follows them and the run, and does what the conductor says."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from atoll.clock import Clock
from loadtests.drills.conductor import Conductor, Course, Do, End
from loadtests.drills.injection import HealFailed, Injection, InjectionFailed
from loadtests.drills.processor import Processor
from loadtests.drills.record import Mark, MarkKind, Record, Request, Sample
from loadtests.drills.scenario import Drill, Durations
from loadtests.drills.schedule import scheduled
from loadtests.drills.target import Target, Waits
from loadtests.drills.traffic import SALE_STOCK, Traffic, TrafficFailed
from loadtests.drills.watch import Watch
from loadtests.users.audit import AuditFailed, audit
from loadtests.users.goods import stock

TICK_S = 0.2
SAMPLE_S = 1.0
NOTICE_S = 5.0
"""What was broken before the load came is known to all gateways by then (`health.silence` and a probe)."""

Heard = Callable[[Record, Course], None]


@dataclass(frozen=True, slots=True)
class Over:
    """A drill that is over: what was seen, and how it ended."""

    record: Record
    course: Course


class Rehearsal:
    """One drill on one target. Call `run` once."""

    def __init__(
        self,
        drill: Drill,
        durations: Durations,
        target: Target,
        folder: Path,
        clock: Clock,
        *,
        seed: int = 0,
        without: str = "",
        homes: Mapping[str, str] | None = None,
        heard: Heard = lambda *_: None,
        waits: Waits = lambda _: None,
    ) -> None:
        """`folder` gets the users' files. `without` is a mechanism that the target does without meanwhile. `homes` is
        as for `Conductor`. `heard` is told once a second what was seen so far, `waits` what the target waits for.
        """
        self._drill = drill
        self._durations = durations
        self._target = target
        self._folder = folder
        self._clock = clock
        self._seed = seed
        self._without = without
        self._homes = homes
        self._heard = heard
        self._waits = waits
        self._requests: list[Request] = []
        self._samples: list[Sample] = []
        self._marks: list[Mark] = []
        self._watch = Watch()
        self._injection = Injection(target, self._mark)
        self._conductor: Conductor | None = None
        self._task: asyncio.Task[object] | None = None

    async def run(self) -> Over:
        """Returns when the drill is over and everything is healed, however it went; cancelled, it heals first.

        Raises `TargetRefused` and `NotCalm` before anything is done, `TrafficFailed` if no user ever had an answer,
        `InjectionFailed` if what is to break before the load comes did not, `HealFailed` if something is left broken.
        """
        self._task = asyncio.current_task()
        await self._target.check(self._drill, self._waits)
        load, times = scheduled(self._drill, self._durations), self._durations
        planned_s = times.steady_s + times.fault_s + times.recovery_s
        try:
            await self._prepare()
            async with Traffic(
                load, self._target.url, self._target.topology_file, self._folder, planned_s, self._seed
            ) as traffic:
                conductor = self._conductor = Conductor(self._drill, times, traffic.begin_s, self._homes)
                sampling = asyncio.create_task(self._sample())
                try:
                    await self._follow(conductor, traffic)
                finally:
                    sampling.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await sampling
            self._requests.extend(traffic.take())
        finally:
            await _to_the_end(self._put_back())
        over = Over(self._record(conductor), conductor.course(self._now()))
        self._heard(over.record, over.course)
        return over if over.course.end is End.INTERRUPTED else await self._audited(over)

    def interrupt(self) -> None:
        """Ends the drill as soon as all is healed."""
        if self._conductor is not None:
            self._conductor.interrupt("interrupted")
        elif self._task is not None:
            self._task.cancel()

    async def _prepare(self) -> None:
        if self._without:
            self._mark(MarkKind.FAULT, f"gateways do without {self._without}")
            await self._injection.do_without(self._without)
        faults = [fault for fault in self._drill.faults if fault.before_load]
        if faults:
            await self._injection.inject(faults)
            await asyncio.sleep(NOTICE_S)

    async def _put_back(self) -> None:
        try:
            await self._injection.heal()
        finally:
            await self._injection.do_with_all()

    async def _audited(self, over: Over) -> Over:
        """With what became of the writes; a drill whose writes nobody can account for shows nothing."""
        if not any(request.write for request in over.record.requests):
            return over
        try:
            writes = await asyncio.to_thread(audit, self._target.url, over.record.requests, stock(SALE_STOCK))
        except AuditFailed as error:
            reason = f"what became of the writes can't be told: {error}"
            return replace(over, course=replace(over.course, end=End.ABORTED, reason=reason))
        return replace(over, record=replace(over.record, writes=writes))

    async def _follow(self, conductor: Conductor, traffic: Traffic) -> None:
        """Until the conductor says that it is over; all is healed then that could be."""
        doing: asyncio.Task[None] | None = None
        told_s = self._now()
        while True:
            fresh = _take(traffic, conductor)
            self._requests.extend(fresh)
            conductor.saw(fresh)
            if doing is not None and doing.done():
                _settle(doing, conductor)
                doing = None
            match do := conductor.step(self._now()):
                case Do.INJECT:
                    self._mark(MarkKind.PHASE, "fault")
                    faults = [fault for fault in self._drill.faults if not fault.before_load]
                    doing = asyncio.create_task(self._injection.inject(faults))
                case Do.HEAL:
                    self._mark(MarkKind.PHASE, "recovery")
                    doing = asyncio.create_task(self._heal_after(doing))
                case Do.END:
                    if doing is not None:
                        await asyncio.wait({doing})
                        _settle(doing, conductor)
                    return
                case Do.NOTHING:
                    pass
            now = self._now()
            if now >= told_s + SAMPLE_S or do is not Do.NOTHING:
                told_s = now
                self._heard(self._record(conductor), conductor.course(now))
            await asyncio.sleep(TICK_S)

    async def _heal_after(self, injecting: "asyncio.Task[None] | None") -> None:
        if injecting is not None:
            with contextlib.suppress(InjectionFailed):
                await injecting
        await self._injection.heal()

    async def _sample(self) -> None:
        processor = Processor()
        due_s = self._now()
        while True:
            due_s = max(due_s + SAMPLE_S, self._now())
            await asyncio.sleep(due_s - self._now())
            status = await self._target.status()
            sample, marks = self._watch.look(status, self._now(), processor.busy())
            self._samples.append(sample)
            self._marks.extend(marks)

    def _mark(self, kind: MarkKind, text: str) -> None:
        self._marks.append(Mark(self._now(), kind, text))

    def _record(self, conductor: Conductor) -> Record:
        return Record(
            phases=conductor.phases(self._now()),
            requests=tuple(sorted(self._requests, key=lambda request: request.due_s)),
            samples=tuple(self._samples),
            marks=tuple(self._marks),
        )

    def _now(self) -> float:
        return self._clock.monotonic()


def _take(traffic: Traffic, conductor: Conductor) -> list[Request]:
    try:
        traffic.check()
        return traffic.take()
    except TrafficFailed as error:
        conductor.interrupt(str(error), End.ABORTED)
        return []


def _settle(done: "asyncio.Task[None]", conductor: Conductor) -> None:
    """What is left broken is healed once more when the drill is over, and told then."""
    if isinstance(error := done.exception(), InjectionFailed | HealFailed):
        conductor.interrupt(str(error), End.ABORTED)
    elif error is not None:
        raise error


async def _to_the_end(work: Coroutine[object, object, None]) -> None:
    """Does something, whoever cancels meanwhile; that counts when it is done."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError
