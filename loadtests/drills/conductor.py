"""The course of a drill, without its input and output: when to inject, heal and end, and when to call it off.

    steady --held--> fault --fault_s--> recovery --recovery_s--> over
       `--not so--> over  `--budget spent or told to end: healed--> over

Whoever conducts tells what it sees (`saw`) and does what `step` answers; `interrupt` ends the drill from outside. The
schedule is fixed when the load begins. Once something was injected, no way to the end leads past the heal.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from loadtests.drills.figures import Phase
from loadtests.drills.figures.blast import failed_elsewhere, homes
from loadtests.drills.record import Phases, Request
from loadtests.drills.scenario import Drill, Durations
from loadtests.drills.verdict import ENOUGH, budget_spent

WARM_UP = 1 / 3
"""So much of the time before the fault is not yet the steady state: connections and caches are cold, and Serve has not
as many replicas as the rate needs.
"""


class Stage(StrEnum):
    """Where a drill is."""

    STEADY = "steady"
    FAULT = "fault"
    RECOVERY = "recovery"
    OVER = "over"


class Do(StrEnum):
    """What is to be done now."""

    NOTHING = "nothing"
    INJECT = "inject"
    HEAL = "heal"
    END = "end"


class End(StrEnum):
    """How a drill ended."""

    COMPLETE = "complete"
    NOT_STEADY = "not-steady"
    ABORTED = "aborted"
    """Its error budget was spent, or more failed outside of its blast radius than it may cost."""
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Course:
    """A snapshot of a drill under way, or of one that is over."""

    stage: Stage
    remaining_s: float
    """Of the stage, by the schedule."""
    lasts_s: float
    """The stage, by the schedule."""
    requests: int
    failed: int
    """From the fault on; in the steady state, since it is warm."""
    failed_elsewhere: int
    """Of them, those of users whose nearest region no fault touches."""
    end: End | None
    reason: str
    """Why it did not go to its end; empty if it did, or goes on."""


class Conductor:
    """Decides. Times are seconds of one monotonic clock, given with each call."""

    def __init__(
        self, drill: Drill, durations: Durations, begin_s: float, homes: Mapping[str, str] | None = None
    ) -> None:
        """`homes` is country -> its users' nearest region; else who serves them before the fault."""
        self._drill = drill
        self._steady: list[Request] = []
        self._homes: Mapping[str, str] = homes or {}
        self._begin_s = begin_s
        self._warm_s = begin_s + WARM_UP * durations.steady_s
        self._steady_until_s = begin_s + durations.steady_s
        self._fault_for_s = durations.fault_s
        self._recovery_for_s = durations.recovery_s
        self._fault_s: float | None = None
        self._heal_s: float | None = None
        self._end_s: float | None = None
        self._stage = Stage.STEADY
        self._seen = 0
        self._failed = 0
        self._elsewhere = 0
        self._end: End | None = None
        self._reason = ""
        self._must_heal = any(fault.before_load for fault in drill.faults)

    def saw(self, requests: Iterable[Request]) -> None:
        """Requests that have ended, each once, in any order."""
        for request in requests:
            if self._fault_s is None:
                self._steady.append(request)
                if request.due_s < self._warm_s:
                    continue
            elif request.ended_s < self._fault_s:
                continue
            self._seen += 1
            self._failed += request.failed
            self._elsewhere += failed_elsewhere((request,), self._homes, self._drill.faults)

    def interrupt(self, reason: str, end: End = End.INTERRUPTED) -> None:
        """Ends the drill at the next steps: what was injected is healed first."""
        if self._end is None:
            self._end, self._reason = end, reason

    def step(self, now_s: float) -> Do:
        """What is to be done now. The answer counts as done when the next one is asked for."""
        if self._stage is Stage.OVER:
            return Do.END
        if self._end is None:
            self._check_limits()
        if self._end is not None:
            return self._wind_up(now_s)
        match self._stage:
            case Stage.STEADY if now_s >= self._steady_until_s:
                if why := self._unsteady():
                    self._end, self._reason = End.NOT_STEADY, why
                    return self._wind_up(now_s)
                self._stage = Stage.FAULT
                self._fault_s = now_s
                self._seen = self._failed = self._elsewhere = 0
                self._homes = self._homes or homes({Phase.BEFORE: self._steady, Phase.AFTER: ()})
                self._must_heal = True
                return Do.INJECT
            case Stage.FAULT if now_s >= self._fault_at() + self._fault_for_s:
                return self._heal(now_s)
            case Stage.RECOVERY if now_s >= self._heal_at() + self._recovery_for_s:
                self._end = End.COMPLETE
                return self._over(now_s)
        return Do.NOTHING

    def course(self, now_s: float) -> Course:
        """A snapshot."""
        since, lasts = {
            Stage.STEADY: (self._begin_s, self._steady_until_s - self._begin_s),
            Stage.FAULT: (self._fault_at(), self._fault_for_s),
            Stage.RECOVERY: (self._heal_at(), self._recovery_for_s),
            Stage.OVER: (now_s, 0.0),
        }[self._stage]
        return Course(
            self._stage,
            max(0.0, since + lasts - now_s),
            lasts,
            self._seen,
            self._failed,
            self._elsewhere,
            self._end,
            self._reason,
        )

    def phases(self, now_s: float) -> Phases:
        """When each part began. Parts that have not begun, or were left out, begin at the end of what there was."""
        end_s = now_s if self._end_s is None else self._end_s
        heal_s = end_s if self._heal_s is None else self._heal_s
        fault_s = heal_s if self._fault_s is None else self._fault_s
        fault_s = min(fault_s, heal_s)
        return Phases(self._begin_s, fault_s, heal_s, end_s, warm_s=min(self._warm_s, fault_s))

    def _fault_at(self) -> float:
        return self._steady_until_s if self._fault_s is None else self._fault_s

    def _heal_at(self) -> float:
        return self._fault_at() + self._fault_for_s if self._heal_s is None else self._heal_s

    def _unsteady(self) -> str:
        if self._seen < ENOUGH:
            return f"only {self._seen} requests were answered before the fault: is the load running?"
        share = self._failed / self._seen
        if share > self._drill.steady_errors:
            return (
                f"{self._failed} of {self._seen} requests failed before the fault "
                f"({share:.1%}; at most {self._drill.steady_errors:.1%} may): something is wrong already"
            )
        return ""

    def _check_limits(self) -> None:
        if self._fault_s is None:
            return
        limits = self._drill.limits
        if budget_spent(self._failed, limits):
            self.interrupt(
                f"its error budget of {limits.failed} failed requests is spent: {self._failed}", End.ABORTED
            )
        elif limits.failed_elsewhere is not None and self._elsewhere > limits.failed_elsewhere:
            self.interrupt(
                f"it reached further than it may: {self._elsewhere} requests failed of users whose nearest region "
                f"was not touched, {limits.failed_elsewhere} may",
                End.ABORTED,
            )

    def _wind_up(self, now_s: float) -> Do:
        if self._must_heal and self._heal_s is None:
            return self._heal(now_s)
        return self._over(now_s)

    def _heal(self, now_s: float) -> Do:
        self._stage = Stage.RECOVERY
        self._heal_s = now_s
        return Do.HEAL

    def _over(self, now_s: float) -> Do:
        self._stage = Stage.OVER
        self._end_s = now_s
        return Do.END
