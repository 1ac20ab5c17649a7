"""Time, injectable. Nothing else in Atoll calls ``time.*``, so tests and the simulator own the clock."""

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Where time comes from.

    ``monotonic`` never goes back and is for durations, deadlines and order within a process.
    ``wall`` is seconds since the Unix epoch and is for what people and other machines read.
    """

    def monotonic(self) -> float: ...

    def wall(self) -> float: ...


class SystemClock:
    """The machine's clocks, in seconds."""

    __slots__ = ()

    # The functions themselves, since a request looks at the clock a dozen times.
    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


@dataclass(slots=True)
class ManualClock:
    """A clock that moves only when told to; for tests and the simulator."""

    now: float = 0.0
    epoch: float = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.epoch + self.now

    def advance(self, seconds: float) -> None:
        """Moves both clocks on. Raises `ValueError` for a negative step: monotonic time never goes back."""
        if seconds < 0:
            raise ValueError(f"a clock cannot be advanced by {seconds} s; use zero or more")
        self.now += seconds
