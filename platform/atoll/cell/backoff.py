"""How long to wait before a process that ended is started again. Pure: no I/O, random injected."""

from dataclasses import dataclass
from random import Random

from atoll.resilience.backoff import Backoff


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Exponential backoff with full jitter (see `atoll.resilience.backoff`); times are in seconds."""

    base_s: float = 0.2
    cap_s: float = 10.0
    reset_after_s: float = 30.0
    """A process that ran this long had recovered: its next end counts as the first."""


class RestartBackoff:
    """The waits of one process."""

    __slots__ = ("_backoff", "_policy")

    def __init__(self, policy: RestartPolicy, random: Random) -> None:
        self._policy = policy
        self._backoff = Backoff(policy.base_s, policy.cap_s, random)

    def after_run(self, ran_for_s: float) -> float:
        """Seconds to wait before the next start, given how long the last run went."""
        if ran_for_s >= self._policy.reset_after_s:
            self._backoff.reset()
        return self._backoff.next_s()

    def reset(self) -> None:
        """Forgets earlier ends: the next start was asked for, not caused by a crash."""
        self._backoff.reset()
