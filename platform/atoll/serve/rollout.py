"""Region by region: the order in which a change goes through a deployment, and where it stops.

`Rollout` decides and does nothing; `roll_out` drives it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Step(StrEnum):
    """Where a region is in a rollout."""

    WAITING = "waiting"
    RUNNING = "running"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    """It ran the wanted set already."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """Not begun, because another region failed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one region."""

    step: Step
    """One of ``CHANGED``, ``UNCHANGED``, ``FAILED``."""
    detail: str = ""
    """Why it failed, in words."""


@dataclass(frozen=True, slots=True)
class RegionStep:
    """One region of a rollout."""

    region: str
    step: Step
    detail: str


class Rollout:
    """Which regions to change now. At most `width` at a time; after the first failure none is begun any more.

    With one at a time (the default) a bad change reaches one region, and the others serve its clients. The first
    start, when there is nothing to lose, may do all side by side.
    """

    def __init__(self, regions: Iterable[str], width: int = 1) -> None:
        self._steps = dict.fromkeys(regions, Outcome(Step.WAITING))
        self._width = width
        if width < 1:
            raise ValueError(f"a rollout of {width} regions at a time never ends; use 1 or more")

    def begin(self) -> tuple[str, ...]:
        """The regions to begin with now; the caller reports each of them to `end`."""
        if self.failed:
            for region in self._in(Step.WAITING):
                self._steps[region] = Outcome(Step.SKIPPED)
            return ()
        begun = self._in(Step.WAITING)[: self._width - len(self._in(Step.RUNNING))]
        for region in begun:
            self._steps[region] = Outcome(Step.RUNNING)
        return begun

    def end(self, region: str, outcome: Outcome) -> None:
        """Takes note of what came of a region. Raises `ValueError` if it was not begun or `outcome` is no end."""
        if self._steps[region].step is not Step.RUNNING:
            raise ValueError(f"region {region} is {self._steps[region].step}, so it can't end")
        if outcome.step not in {Step.CHANGED, Step.UNCHANGED, Step.FAILED}:
            raise ValueError(f"{outcome.step} is no outcome of region {region}")
        self._steps[region] = outcome

    @property
    def failed(self) -> tuple[str, ...]:
        """Regions that failed; their desired state is the new set, so they need going back."""
        return self._in(Step.FAILED)

    @property
    def changed(self) -> tuple[str, ...]:
        """Regions that run the new set and did not before."""
        return self._in(Step.CHANGED)

    @property
    def to_roll_back(self) -> tuple[str, ...]:
        """Regions to bring back so that all run the same as before: those that failed first, then those that changed,
        the latest first.
        """
        return self.failed + self.changed[::-1]

    @property
    def steps(self) -> tuple[RegionStep, ...]:
        """Every region, in order."""
        return tuple(RegionStep(region, item.step, item.detail) for region, item in self._steps.items())

    def _in(self, step: Step) -> tuple[str, ...]:
        return tuple(region for region, outcome in self._steps.items() if outcome.step is step)


async def roll_out(
    rollout: Rollout,
    deploy: Callable[[str], Awaitable[Outcome]],
    heard: Callable[[tuple[RegionStep, ...]], None],
) -> None:
    """Drives a rollout to its end; `heard` is told of every change. `deploy` reports failure as an outcome: an error
    that it raises ends the rollout at once and comes out of here, in an `ExceptionGroup`.
    """

    async def one(region: str) -> None:
        outcome = await deploy(region)
        rollout.end(region, outcome)
        go_on()

    def go_on() -> None:
        for region in rollout.begin():
            tasks.create_task(one(region))
        heard(rollout.steps)

    async with asyncio.TaskGroup() as tasks:
        go_on()
