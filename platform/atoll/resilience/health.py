"""Whether a peer is to be believed in: quick to lose trust, slow to give it back.

    unknown --one probe answered--> healthy --refused or silent--> down --some probes answered--> healthy
       `---refused or silent-----------------------------------------^

Silence is counted only while this process watches: a gateway that was suspended or overloaded has not
listened, and must not call its peers dead for its own sleep. After such a stall the count begins afresh.
"""

from dataclasses import dataclass
from enum import StrEnum

from atoll.clock import Clock
from atoll.topology import HealthPolicy

STALL_S = 0.5
"""A tick that comes this much late means that this process was not running. A round figure of this
project's own: far above what a garbage collection costs, and well under `HealthPolicy.silence_s`."""


class HealthState(StrEnum):
    """What is believed of a peer; `UNKNOWN` counts as not healthy."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class HealthStatistics:
    """A snapshot. Counters run from the start of this process."""

    state: HealthState
    reason: str
    since: float
    silent_s: float
    """Time since the peer was last heard or this process last stood still, as of the last tick."""
    probes_answered: int
    probes_failed: int
    refusals: int
    transitions: int
    """Changes of `state`."""
    stalls: int
    """Ticks that came so late that this process must have stood still."""


class PeerHealth:
    """The health of one peer gateway.

    Whoever probes calls `tick` every `tick_s` (default: the policy's probe interval), `probe_sent` for each
    probe, and then one of `probe_answered`, `probe_failed` and `refused`. Whoever sends requests to the
    peer calls `heard` for each response and `refused` for each connection refused or reset. (A kept
    connection that the peer closed while it was idle is neither.)

    Down is noticed at the tick at which the silence has lasted `silence_s`, so at most one tick later than
    that.
    """

    __slots__ = (
        "_answered_in_a_row",
        "_asked_s",
        "_asking",
        "_cause",
        "_clock",
        "_last_heard",
        "_last_probe_failure",
        "_mark",
        "_policy",
        "_probes_answered",
        "_probes_failed",
        "_refusals",
        "_silent_s",
        "_since",
        "_stalls",
        "_state",
        "_tick_s",
        "_transitions",
    )

    def __init__(self, clock: Clock, policy: HealthPolicy, *, tick_s: float | None = None) -> None:
        now = clock.monotonic()
        self._clock = clock
        self._policy = policy
        self._tick_s = policy.probe_interval_s if tick_s is None else tick_s
        self._state = HealthState.UNKNOWN
        self._cause: str | None = None
        """Why it is down, by the newest that is known; None means silence."""
        self._since = now
        self._last_heard: float | None = None
        self._last_probe_failure: str | None = None
        self._mark = now
        """Up to here time has been counted."""
        self._silent_s = 0.0
        self._asking = False
        """Whether a probe has gone out since the peer was last heard."""
        self._asked_s = 0.0
        """Watched time since the first of those probes."""
        self._answered_in_a_row = 0
        self._probes_answered = 0
        self._probes_failed = 0
        self._refusals = 0
        self._transitions = 0
        self._stalls = 0

    @property
    def healthy(self) -> bool:
        """Whether requests should go there."""
        return self._state is HealthState.HEALTHY

    @property
    def state(self) -> HealthState:
        return self._state

    @property
    def since(self) -> float:
        """When `state` last changed, on the clock's monotonic time."""
        return self._since

    @property
    def reason(self) -> str:
        """Why it is in this state, in words (``silent for 1.6 s``, as of now); empty if it is healthy."""
        match self._state:
            case HealthState.HEALTHY:
                return ""
            case HealthState.UNKNOWN:
                return "not heard yet"
            case HealthState.DOWN:
                why = self._why_down()
                answered = self._answered_in_a_row
                if answered == 0:
                    return why
                return f"{why}; since then {answered} of {self._policy.recovery_probes} probes answered"

    def heard(self) -> None:
        """The peer sent a response of any kind. Ends its silence; a peer that is down stays so."""
        now = self._clock.monotonic()
        self._last_heard = now
        self._mark = now
        self._count_afresh()

    def probe_sent(self) -> None:
        """A probe has gone out."""
        self._asking = True

    def probe_answered(self) -> None:
        """The peer answered a probe with a report that this side accepts."""
        self.heard()
        self._last_probe_failure = None
        self._probes_answered += 1
        self._answered_in_a_row += 1
        needed = 1 if self._state is HealthState.UNKNOWN else self._policy.recovery_probes
        if self._state is not HealthState.HEALTHY and self._answered_in_a_row >= needed:
            self._enter(HealthState.HEALTHY, None)

    def probe_failed(self, why: str | None = None) -> None:
        """A probe got no answer in time, or, if `why` is given, one that this side does not accept.

        Not enough to be down by itself.
        """
        self._asking = True
        self._last_probe_failure = why
        if self._state is HealthState.DOWN:
            self._cause = why
        self._probes_failed += 1
        self._answered_in_a_row = 0

    def refused(self, why: str = "connection refused") -> None:
        """The peer's machine refused or reset a connection: nobody is there. Down at once."""
        self._refusals += 1
        self._answered_in_a_row = 0
        if self._state is HealthState.DOWN:
            self._cause = why
        else:
            self._enter(HealthState.DOWN, why)

    def tick(self) -> None:
        """Time has passed: counts the silence, and finds the peer down once it has lasted too long."""
        now = self._clock.monotonic()
        passed = now - self._mark
        self._mark = now
        if passed > self._tick_s + STALL_S:
            self._stalls += 1
            self._count_afresh()
            return
        self._silent_s += passed
        if not self._asking:
            return
        self._asked_s += passed
        policy = self._policy
        # The second condition is for a prober that slept: its probe must have had time to be answered.
        if (
            self._state is not HealthState.DOWN
            and self._silent_s >= policy.silence_s
            and self._asked_s >= policy.silence_s - policy.probe_interval_s
        ):
            self._enter(HealthState.DOWN, self._last_probe_failure)

    def statistics(self) -> HealthStatistics:
        return HealthStatistics(
            state=self._state,
            reason=self.reason,
            since=self._since,
            silent_s=self._silent_s,
            probes_answered=self._probes_answered,
            probes_failed=self._probes_failed,
            refusals=self._refusals,
            transitions=self._transitions,
            stalls=self._stalls,
        )

    def _count_afresh(self) -> None:
        self._silent_s = 0.0
        self._asking = False
        self._asked_s = 0.0

    def _enter(self, state: HealthState, cause: str | None) -> None:
        self._state = state
        self._cause = cause
        self._since = self._clock.monotonic()
        self._transitions += 1
        self._answered_in_a_row = 0

    def _why_down(self) -> str:
        if self._cause is not None:
            return self._cause
        if self._last_heard is None:
            return "never heard"
        return f"silent for {self._clock.monotonic() - self._last_heard:.1f} s"
