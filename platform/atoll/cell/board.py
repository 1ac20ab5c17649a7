"""Progress as it happens, for any number of watchers."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from atoll.cell.progress import Progress, StepState
from atoll.clock import Clock


class Board:
    """The latest event of every step, in the order in which the steps began. Watchers are told of each new event."""

    def __init__(self, clock: Clock, region: str | None = None) -> None:
        self._clock = clock
        self._region = region
        self._latest: dict[tuple[str | None, str], Progress] = {}
        self._began: dict[tuple[str | None, str], float] = {}
        self._watchers: set[asyncio.Queue[Progress]] = set()

    @contextmanager
    def step(self, name: str, detail: str = "") -> Iterator[None]:
        """Reports the step as begun, and at the end as done or, if an exception ends it, as failed."""
        self.begin(name, detail)
        try:
            yield
        except Exception as error:
            self.end(name, StepState.FAILED, str(error))
            raise
        except BaseException:
            self.end(name, StepState.FAILED, "cancelled")
            raise
        self.end(name, StepState.DONE)

    def begin(self, name: str, detail: str = "") -> None:
        self._began[self._region, name] = self._clock.monotonic()
        self.post(Progress(self._region, name, StepState.WAITING, 0.0, detail))

    def end(self, name: str, state: StepState, detail: str = "") -> None:
        began = self._began.get((self._region, name), self._clock.monotonic())
        self.post(Progress(self._region, name, state, self._clock.monotonic() - began, detail))

    def note(self, name: str, detail: str) -> None:
        """Says why a step that was begun is not done yet. Nothing, if it is done."""
        event = self._latest.get((self._region, name))
        if event is not None and event.state is not StepState.DONE:
            self.post(replace(event, detail=detail))

    def post(self, event: Progress) -> None:
        """Takes an event, of this board's region or of another's."""
        self._latest[event.region, event.step] = event
        for watcher in self._watchers:
            watcher.put_nowait(event)

    def waiting(self) -> tuple[Progress, ...]:
        """The steps that are not done, with the time they have taken until now where they are this board's own."""
        return tuple(event for event in self._latest.values() if event.state is not StepState.DONE)

    @contextmanager
    def watch(self, *, past: bool) -> Iterator[asyncio.Queue[Progress]]:
        """While the block runs, the queue gets each event as it comes; first, with `past`, the latest of every step."""
        queue: asyncio.Queue[Progress] = asyncio.Queue()
        for event in self._latest.values() if past else ():
            queue.put_nowait(event)
        self._watchers.add(queue)
        try:
            yield queue
        finally:
            self._watchers.discard(queue)
