"""Replicas: so many requests are worked on at once, more wait inside, more still are refused."""

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random

from atoll.simulate.scenario import Work

FAILS_AFTER_S = 0.001
"""A replica that fails, fails fast: that is what draws traffic to it."""


class ReplicaGone(Exception):
    """The replica died with the request, or was dead before."""


class _Job:
    __slots__ = ("done", "seconds", "status", "timer")

    def __init__(self, done: asyncio.Future[int], seconds: float, status: int) -> None:
        self.done = done
        self.seconds = seconds
        self.status = status
        self.timer: asyncio.TimerHandle | None = None


class SimulatedReplica:
    """One replica of one service. Every fault of it is a field that somebody sets."""

    __slots__ = (
        "_busy",
        "_chance",
        "_count",
        "_frozen",
        "_held",
        "_jobs",
        "_loop",
        "_queue",
        "_up",
        "_work",
        "executed",
        "factors",
        "failing",
        "name",
        "region",
        "since",
    )

    def __init__(
        self,
        name: str,
        region: str,
        work: Work,
        loop: asyncio.AbstractEventLoop,
        chance: Random,
        count: Callable[[int], None],
    ) -> None:
        self.name = name
        self.region = region
        self._work = work
        self._loop = loop
        self._chance = chance
        self._count = count
        """Called with +1 and -1 as requests come in and go."""
        self._up = 0
        self._frozen = 0
        self.factors: list[float] = []
        self.failing = 0.0
        self.executed = 0
        self.since = 0.0
        """When it was last started or healed."""
        self._busy: dict[_Job, None] = {}
        self._queue: deque[_Job] = deque()
        self._held: list[_Job] = []
        self._jobs: dict[_Job, None] = {}

    @property
    def up(self) -> bool:
        return not self._up

    @property
    def frozen(self) -> bool:
        return self._frozen > 0

    @property
    def in_flight(self) -> int:
        return len(self._jobs)

    @property
    def accepts(self) -> int:
        """Requests that it accepts at most."""
        return self._work.in_flight

    @property
    def full(self) -> bool:
        """Whether it refuses. One that stands still refuses nobody: the kernel accepts for it."""
        return not self._frozen and len(self._jobs) >= self._work.in_flight

    async def execute(self, done: asyncio.Future[int]) -> int:
        """Works on a request and returns the status of the answer. Cancelling ends the work.

        `done` is a new future, which the caller may settle to give the request up. Raises `ReplicaGone`.
        """
        if self._up:
            raise ReplicaGone
        fails = self.failing > 0 and self._chance.random() < self.failing
        job = _Job(done, FAILS_AFTER_S if fails else self._seconds(), 503 if fails else 200)
        self.executed += 1
        self._jobs[job] = None
        self._count(1)
        self._queue.append(job)
        self._start()
        try:
            return await job.done
        finally:
            self._leave(job)

    def kill(self) -> None:
        self._up += 1
        for job in tuple(self._jobs):
            if not job.done.done():
                job.done.set_exception(ReplicaGone())

    def start(self) -> None:
        self._up -= 1
        self.since = self._loop.time()
        self._start()

    def freeze(self) -> None:
        self._frozen += 1

    def thaw(self) -> None:
        self._frozen -= 1
        self.since = self._loop.time()
        if not self._frozen:
            held, self._held = self._held, []
            for job in held:
                self._finish(job)
            self._start()

    def _seconds(self) -> float:
        seconds = self._work.median_s * self._chance.lognormvariate(0.0, self._work.sigma)
        for factor in self.factors:
            seconds *= factor
        return seconds

    def _start(self) -> None:
        while self._queue and len(self._busy) < self._work.busy and not self._frozen and not self._up:
            job = self._queue.popleft()
            if job.done.done():
                continue
            self._busy[job] = None
            job.timer = self._loop.call_later(job.seconds, self._finish, job)

    def _finish(self, job: _Job) -> None:
        if job.done.done():
            return
        if self._frozen:
            self._held.append(job)
            return
        job.done.set_result(job.status)

    def _leave(self, job: _Job) -> None:
        del self._jobs[job]
        self._count(-1)
        if job.timer is not None:
            job.timer.cancel()
        if job in self._busy:
            del self._busy[job]
        self._start()
